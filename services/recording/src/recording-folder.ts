import { mkdir, open, readdir, rename, rm, rmdir, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { finishFile, type FinishedFile, type ReadablePart } from '@weir/recorder';
import { Turns } from './turns.js';

export type Container = FinishedFile['container'];

const PART = /^part-\d{16}-\d{4}$/;
const UNFINISHED = 'file.tmp';

/** How often a part is synced. What was written since then survives the end of this process, but no power failure. */
const SYNC_MS = 900;
/** Node has four threads for all files and look-ups of names. A slow disk must leave one of them to others. */
const syncs = new Turns(3);

/** A finished file that lies in its folder. */
export interface StoredFile extends FinishedFile {
  readonly path: string;
  readonly parts: number;
}

export type Finishing =
  | StoredFile
  | { readonly tag: 'empty' }
  /** The parts from this one on, counted from 0, don't fit those before. */
  | { readonly tag: 'different-tracks'; readonly part: number };

/**
 * The folder of one recording: its parts while it is recorded, its file afterwards. Every name is made by the service.
 * What a killed process leaves behind in it does no harm: an unfinished file is written again.
 */
export class RecordingFolder {
  readonly path: string;

  /** @param id the recording's id, which the service has made */
  constructor(
    private readonly dir: string,
    readonly id: string,
  ) {
    this.path = join(dir, id);
  }

  /** Throws if it exists already. */
  async create(): Promise<void> {
    await mkdir(this.path, { mode: 0o700 });
    await syncFolder(this.dir);
  }

  /** Whether this instance sees the folder. */
  async exists(): Promise<boolean> {
    return stat(this.path).then(
      (found) => found.isDirectory(),
      () => false,
    );
  }

  filePath(container: Container): string {
    return join(this.path, `file.${container}`);
  }

  /**
   * Begins a new part. Parts are in the order of their names: those of a later owner, whose epoch is higher, come after
   * those of an earlier one.
   */
  async addPart(epoch: bigint): Promise<PartFile> {
    const number = (await this.parts()).length;
    const name = `part-${String(epoch).padStart(16, '0')}-${String(number).padStart(4, '0')}`;
    return new PartFile(await open(join(this.path, name), 'wx', 0o600), this.path);
  }

  /** The names of the parts in order. */
  async parts(): Promise<string[]> {
    return (await readdir(this.path)).filter((name) => PART.test(name)).sort();
  }

  async partBytes(): Promise<number> {
    const sizes = await Promise.all((await this.parts()).map(async (name) => (await stat(join(this.path, name))).size));
    return sizes.reduce((sum, size) => sum + size, 0);
  }

  /** When the last byte was written; undefined if there is no part. */
  async lastWrittenAt(): Promise<Date | undefined> {
    const last = (await this.parts()).at(-1);
    return last === undefined ? undefined : (await stat(join(this.path, last))).mtime;
  }

  /**
   * Makes the seekable file from the parts: it is written aside, synced and renamed. The parts stay until `dropParts`,
   * so this can be done again after a crash at any moment.
   */
  async finish(): Promise<Finishing> {
    const names = await this.parts();
    const handles: FileHandle[] = [];
    try {
      for (const name of names) handles.push(await open(join(this.path, name), 'r'));
      const parts = await Promise.all(handles.map(readable));
      const unfinished = join(this.path, UNFINISHED);
      const target = await open(unfinished, 'w', 0o600);
      try {
        const made = await finishFile(parts, { write: (bytes) => target.writeFile(bytes) });
        if (made.tag !== 'finished') return made;
        await target.datasync();
        const path = this.filePath(made.container);
        await rename(unfinished, path);
        await syncFolder(this.path);
        return { ...made, path, parts: names.length };
      } finally {
        await target.close();
        await rm(unfinished, { force: true });
      }
    } finally {
      await Promise.all(handles.map((handle) => handle.close()));
    }
  }

  /** To be called when the database has the file. */
  async dropParts(): Promise<void> {
    for (const name of await readdir(this.path))
      if (PART.test(name) || name === UNFINISHED) await rm(join(this.path, name), { force: true });
  }

  /** Moves the parts from the given one on to the folder of another recording. Can be done again after a crash. */
  async moveParts(from: number, to: RecordingFolder): Promise<void> {
    await mkdir(to.path, { mode: 0o700, recursive: true });
    await syncFolder(to.dir);
    for (const name of (await this.parts()).slice(from)) await rename(join(this.path, name), join(to.path, name));
    await syncFolder(to.path);
  }

  async remove(): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }

  /** Removes the folder if it is empty and this old. A file in it may be all that is left of a recording. */
  async removeIfAbandoned(afterMs: number): Promise<void> {
    const found = await stat(this.path).catch(() => undefined);
    if (found === undefined || !found.isDirectory() || Date.now() - found.mtimeMs < afterMs) return;
    if ((await readdir(this.path)).length === 0) await rmdir(this.path);
  }
}

/** A part to which bytes are appended. It is synced about once a second, and that delays no bytes. */
export class PartFile {
  #sizeBytes = 0;
  #syncing: Promise<void> = Promise.resolve();
  #isSyncing = false;
  #isNamed = false;
  /** What was appended before this time is on the disk. */
  #safeUntilMs = performance.now();
  #nextSyncMs = 0;
  #hasUnsafe = false;
  #failure: { readonly error: unknown } | undefined;

  constructor(
    private readonly handle: FileHandle,
    private readonly folder: string,
  ) {}

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** The age of the oldest bytes that a power failure would destroy. */
  get atRiskMs(): number {
    return performance.now() - this.#safeUntilMs;
  }

  /** Resolves when the bytes would survive the end of this process. Rejects also if earlier bytes can't be synced. */
  async append(chunks: readonly Uint8Array[]): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure.error;
    const [first, ...others] = chunks;
    if (first !== undefined) {
      const bytes = others.length === 0 ? first : Buffer.concat(chunks);
      await this.handle.writeFile(bytes);
      this.#sizeBytes += bytes.length;
      this.#hasUnsafe = true;
    }
    const nowMs = performance.now();
    if (!this.#hasUnsafe && !this.#isSyncing) this.#safeUntilMs = nowMs;
    else if (!this.#isSyncing && nowMs >= this.#nextSyncMs) this.#syncing = this.#sync();
  }

  /** Resolves when everything is on the disk. */
  async close(): Promise<void> {
    try {
      await this.#syncing;
      if (this.#hasUnsafe) await this.#sync();
      if (this.#failure !== undefined) throw this.#failure.error;
    } finally {
      await this.handle.close();
    }
  }

  /** Never rejects. */
  async #sync(): Promise<void> {
    const startedMs = performance.now();
    this.#isSyncing = true;
    this.#hasUnsafe = false;
    this.#nextSyncMs = startedMs + SYNC_MS;
    try {
      await syncs.run(async () => {
        await this.handle.datasync();
        if (!this.#isNamed) await syncFolder(this.folder);
      });
      this.#isNamed = true;
      this.#safeUntilMs = startedMs;
    } catch (error) {
      this.#failure = { error };
    } finally {
      this.#isSyncing = false;
    }
  }
}

async function readable(handle: FileHandle): Promise<ReadablePart> {
  const { size } = await handle.stat();
  return {
    sizeBytes: size,
    read: async (offset, length) => {
      const bytes = Buffer.allocUnsafe(length);
      for (let done = 0; done < length;) {
        const { bytesRead } = await handle.read(bytes, done, length - done, offset + done);
        if (bytesRead === 0) throw new Error(`a part has become shorter than ${size} bytes`);
        done += bytesRead;
      }
      return bytes;
    },
  };
}

/** A new name is on the disk only when its folder is synced. */
async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
