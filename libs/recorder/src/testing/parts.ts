import type { ReadablePart, WritableTarget } from '../finish-file.js';

export const partOf = (bytes: Uint8Array): ReadablePart => ({
  sizeBytes: bytes.length,
  read: async (offset, length) => Promise.resolve(bytes.subarray(offset, offset + length)),
});

export class MemoryTarget implements WritableTarget {
  readonly #pieces: Uint8Array[] = [];

  async write(bytes: Uint8Array): Promise<void> {
    this.#pieces.push(bytes.slice());
    return Promise.resolve();
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#pieces);
  }
}
