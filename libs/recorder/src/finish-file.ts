import { concat } from './ebml.js';
import { finishMp4 } from './mp4-finish.js';
import { PartReader } from './part-reader.js';
import { finishWebm } from './webm-finish.js';

/** Bytes that a recorder wrote. */
export interface ReadablePart {
  readonly sizeBytes: number;
  /** Returns exactly these bytes, which lie within the part. */
  read(offset: number, length: number): Promise<Uint8Array>;
}

export interface WritableTarget {
  /** Appends. Each call is awaited before the next. */
  write(bytes: Uint8Array): Promise<void>;
}

export interface FinishedFile {
  readonly tag: 'finished';
  readonly container: 'webm' | 'mp4';
  /** The duration that the file states and that a player shows. */
  readonly durationMs: number;
  readonly sizeBytes: number;
  /** When the recording began, by the recorder's clock. */
  readonly startedAtMs: number;
  /** Where one part ends and the next begins, in the file's time, and how long nothing was recorded between them. */
  readonly joints: readonly Joint[];
}

export interface Joint {
  readonly atMs: number;
  readonly missingMs: number;
}

export type FinishResult =
  | FinishedFile
  /** No part has a whole frame. Nothing was written. */
  | { readonly tag: 'empty' }
  /** This part, counted from 0, has other tracks than those before it, so they aren't one file. Nothing was written. */
  | { readonly tag: 'different-tracks'; readonly part: number };

const EBML_MAGIC = 0x1a;
const GATHERED_BYTES = 1024 * 1024;

/**
 * Makes a seekable file, with duration and index, from what recorders wrote: the parts of one recording in order. A
 * part may end anywhere, as a killed process left it; what follows its last whole frame is left out. The parts are read
 * twice: first for the index, then for the media. Memory is needed only for the index: at most 200 MB for 24 hours of
 * MP4 with 30 pictures a second, and a few MB for as much WebM.
 */
export async function finishFile(parts: readonly ReadablePart[], target: WritableTarget): Promise<FinishResult> {
  const readers = parts.map((part) => new PartReader(part));
  for (const reader of readers) {
    const [first] = await reader.bytes(0, 1);
    if (first === undefined) continue;
    const gathered = new GatheredTarget(target);
    const result = await (first === EBML_MAGIC ? finishWebm(readers, gathered) : finishMp4(readers, gathered));
    await gathered.flush();
    return result;
  }
  return { tag: 'empty' };
}

/** Turns many small writes into few large ones. */
class GatheredTarget implements WritableTarget {
  #pieces: Uint8Array[] = [];
  #bytes = 0;

  constructor(private readonly target: WritableTarget) {}

  async write(bytes: Uint8Array): Promise<void> {
    this.#pieces.push(bytes);
    this.#bytes += bytes.length;
    if (this.#bytes >= GATHERED_BYTES) await this.flush();
  }

  async flush(): Promise<void> {
    const pieces = this.#pieces;
    this.#pieces = [];
    this.#bytes = 0;
    const [first, ...others] = pieces;
    if (first !== undefined) await this.target.write(others.length === 0 ? first : concat(pieces));
  }
}
