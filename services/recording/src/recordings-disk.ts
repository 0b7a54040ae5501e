import { readdir, statfs } from 'node:fs/promises';
import { ErrorCode, WeirError } from '@weir/contracts';
import { RecordingFolder } from './recording-folder.js';
import type { RecordingStore } from './store.js';

export interface DiskSettings {
  readonly dir: string;
  readonly minFreeBytes: number;
  /** 0: for ever. */
  readonly keepMs: number;
  /** 0: no limit. */
  readonly keepBytes: number;
}

export interface RecordingsDiskPorts {
  readonly store: Pick<RecordingStore, 'findAll' | 'removable' | 'deleted'>;
  /** Whether this instance works on the recording, or is about to. */
  readonly isInUse: (id: string) => boolean;
}

const RETENTION_INTERVAL_MS = 30_000;
const TIDY_INTERVAL_MS = 30_000;
/** How far back to tidy up: what ended earlier has been tidied up already, at the latest when this instance started. */
const TIDY_BACK_MS = 3_600_000;
/** An empty folder of this age belongs to no recording that is just beginning. */
const ABANDONED_AFTER_MS = 600_000;
const MAX_FOUND_AT_ONCE = 500;
/** The space that stays free beside what the largest recording needs to be finished. */
const RESERVE_BYTES = 4 * 1024 * 1024;

/** The folders of all recordings that this instance sees: whether there is room for more, and what is removed when. */
export class RecordingsDisk {
  #retainedMs = 0;
  #tidiedMs: number | undefined;

  constructor(
    private readonly ports: RecordingsDiskPorts,
    private readonly settings: DiskSettings,
  ) {}

  folderOf(id: string): RecordingFolder {
    return new RecordingFolder(this.settings.dir, id);
  }

  /** @throws WeirError EXHAUSTED if another recording should not begin */
  async demandRoom(): Promise<void> {
    const freeBytes = await this.#freeBytes();
    if (freeBytes < this.settings.minFreeBytes)
      throw new WeirError(ErrorCode.EXHAUSTED, 'The disk has too little free space for another recording', {
        freeBytes: String(freeBytes),
        neededBytes: String(this.settings.minFreeBytes),
      });
  }

  /** Whether a recording of this size can be finished: its parts are still there meanwhile, so it needs its size again. */
  async canFinish(sizeBytes: number): Promise<boolean> {
    return (await this.#freeBytes()) > sizeBytes + RESERVE_BYTES;
  }

  /** Deletes the file of a recording that has ended; the row stays, marked as deleted. */
  async deleteFile(id: string, by: 'user' | 'age' | 'space'): Promise<void> {
    await this.ports.store.deleted(id, by);
    await this.folderOf(id).remove();
  }

  /** Removes what is too old or too much, and what killed processes have left behind. Call it often. */
  async cleanUp(): Promise<void> {
    const nowMs = performance.now();
    if (nowMs - this.#retainedMs >= RETENTION_INTERVAL_MS) {
      this.#retainedMs = nowMs;
      await this.#retain();
    }
    const isFirst = this.#tidiedMs === undefined;
    if (nowMs - (this.#tidiedMs ?? -Infinity) >= TIDY_INTERVAL_MS) {
      this.#tidiedMs = nowMs;
      await this.#tidy(isFirst ? 0 : Date.now() - TIDY_BACK_MS);
    }
  }

  async #freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.settings.dir);
    return bavail * bsize;
  }

  /** Deletes files that are too old, and the oldest ones if all together are too large. */
  async #retain(): Promise<void> {
    const { keepMs, keepBytes } = this.settings;
    if (keepMs === 0 && keepBytes === 0) return;
    const folders = new Set(await readdir(this.settings.dir));
    const files = (await this.ports.store.removable()).filter(({ id }) => folders.has(id));
    let bytes = files.reduce((sum, { sizeBytes }) => sum + Number(sizeBytes ?? 0), 0);
    for (const { id, finishedAt, sizeBytes } of files) {
      const isOld = keepMs > 0 && Date.now() - (finishedAt?.getTime() ?? Date.now()) > keepMs;
      if (!isOld && (keepBytes === 0 || bytes <= keepBytes)) continue;
      await this.deleteFile(id, isOld ? 'age' : 'space');
      bytes -= Number(sizeBytes ?? 0);
    }
  }

  /**
   * Removes parts beside a finished file, files of recordings that must have none, and empty folders of recordings that
   * never began.
   * @param sinceMs recordings that ended before this time are left alone
   */
  async #tidy(sinceMs: number): Promise<void> {
    const ids = (await readdir(this.settings.dir)).filter((id) => !this.ports.isInUse(id));
    for (let from = 0; from < ids.length; from += MAX_FOUND_AT_ONCE) {
      const some = ids.slice(from, from + MAX_FOUND_AT_ONCE);
      const rows = new Map((await this.ports.store.findAll(some)).map((row) => [row.id, row]));
      for (const id of some) {
        const row = rows.get(id);
        const folder = this.folderOf(id);
        if (row === undefined) await folder.removeIfAbandoned(ABANDONED_AFTER_MS);
        else if (row.finishedAt === null) continue;
        else if (row.deleted !== null || row.sizeBytes === null) await folder.remove();
        else if (row.finishedAt.getTime() >= sinceMs) await folder.dropParts();
      }
    }
  }
}
