import { mkdir, open, readdir, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { finishFile, type FinishedFile, type ReadablePart } from '@weir/recorder';

export type Container = FinishedFile['container'];

const PART = /^part-\d{16}-\d{4}$/;
const UNFINISHED = 'file.tmp';

/** A finished file that lies in its folder. */
export interface StoredFile extends FinishedFile {
  readonly path: string;
  readonly parts: number;
}

export type Finishing =
  | StoredFile
  | { readonly tag: 'empty' }
  /** The parts from this one on, counted from 0, don't fit to those before. */
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

  async create(): Promise<void> {
    await mkdir(this.path, { mode: 0o700, recursive: true });
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
    const handle = await open(join(this.path, name), 'wx', 0o600);
    await syncFolder(this.path);
    return new PartFile(handle);
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
   * Makes the seekable file from the parts: written aside, synced, renamed. The parts stay until `dropParts`, so this can
   * be done again after a crash at any moment.
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
    for (const name of await this.parts()) await rm(join(this.path, name), { force: true });
  }

  /** Moves the parts from the given one on to the folder of another recording. Can be done again after a crash. */
  async moveParts(from: number, to: RecordingFolder): Promise<void> {
    await to.create();
    for (const name of (await this.parts()).slice(from)) await rename(join(this.path, name), join(to.path, name));
    await syncFolder(to.path);
  }

  async remove(): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }
}

/** A part to which bytes are appended. */
export class PartFile {
  #sizeBytes = 0;

  constructor(private readonly handle: FileHandle) {}

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Resolves when the bytes are on the disk. */
  async append(chunks: readonly Uint8Array[]): Promise<void> {
    if (chunks.length === 0) return;
    const bytes = Buffer.concat(chunks);
    await this.handle.writeFile(bytes);
    await this.handle.datasync();
    this.#sizeBytes += bytes.length;
  }

  close(): Promise<void> {
    return this.handle.close();
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

/** A new name is only on the disk once its folder is. */
async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
