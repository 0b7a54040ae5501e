import type { ReadablePart } from './finish-file.js';

const WINDOW_BYTES = 256 * 1024;

/** Reads small pieces of a part, mostly forwards, through a window. */
export class PartReader {
  #window: Uint8Array = new Uint8Array(0);
  #windowStart = 0;

  constructor(private readonly part: ReadablePart) {}

  get sizeBytes(): number {
    return this.part.sizeBytes;
  }

  /** Returns fewer bytes at the end of the part. */
  async bytes(offset: number, length: number): Promise<Uint8Array> {
    const end = Math.min(offset + length, this.part.sizeBytes);
    if (end <= offset) return new Uint8Array(0);
    if (offset < this.#windowStart || end > this.#windowStart + this.#window.length) {
      const wanted = Math.min(Math.max(end - offset, WINDOW_BYTES), this.part.sizeBytes - offset);
      this.#window = await this.part.read(offset, wanted);
      this.#windowStart = offset;
    }
    return this.#window.subarray(offset - this.#windowStart, end - this.#windowStart);
  }

  /** The bytes in pieces of bounded size. */
  async *pieces(offset: number, length: number): AsyncGenerator<Uint8Array> {
    if (length <= WINDOW_BYTES) {
      // Small pieces mostly follow one another.
      yield await this.bytes(offset, length);
      return;
    }
    for (let done = 0; done < length;) {
      const piece = await this.part.read(offset + done, Math.min(4 * WINDOW_BYTES, length - done));
      if (piece.length === 0) return;
      yield piece;
      done += piece.length;
    }
  }
}
