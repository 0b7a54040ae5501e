const FIN = 0x80;
const MASKED = 0x80;
const OPCODE = 0x0f;
const LENGTH = 0x7f;
/** Opcodes from here on are control frames, which may stand between the fragments of a message (RFC 6455, 5.4). */
const FIRST_CONTROL_OPCODE = 8;
const MASK_BYTES = 4;
const MAX_HEADER_BYTES = 14;

/**
 * Follows the frames of a WebSocket to know how many bytes of an unfinished message have arrived. It reads only headers
 * and validates nothing: the code that reads the messages refuses bytes that aren't WebSocket frames.
 */
export class FrameProgress {
  readonly #header = Buffer.alloc(MAX_HEADER_BYTES);
  #headerBytes = 0;
  #payloadLeft = 0;
  #inFragments = false;
  #isLast = true;
  #bytes = 0;

  /** The bytes received of the unfinished message or control frame; 0 between two. */
  get unfinishedBytes(): number {
    return this.#bytes;
  }

  /** Returns whether these bytes finished a message or control frame. */
  push(chunk: Uint8Array): boolean {
    let finished = false;
    for (let at = 0; at < chunk.length;) {
      if (this.#payloadLeft > 0) {
        const taken = Math.min(this.#payloadLeft, chunk.length - at);
        this.#payloadLeft -= taken;
        this.#bytes += taken;
        at += taken;
      } else {
        this.#header[this.#headerBytes] = chunk[at] ?? 0;
        this.#headerBytes += 1;
        this.#bytes += 1;
        at += 1;
        if (this.#headerBytes < this.#headerLength) continue;
        this.#begin();
      }
      if (this.#payloadLeft === 0 && this.#headerBytes === 0 && this.#isLast) {
        this.#bytes = 0;
        finished = true;
      }
    }
    return finished;
  }

  get #headerLength(): number {
    if (this.#headerBytes < 2) return 2;
    const [, second = 0] = this.#header;
    const length = second & LENGTH;
    return 2 + (length === 126 ? 2 : length === 127 ? 8 : 0) + ((second & MASKED) === 0 ? 0 : MASK_BYTES);
  }

  #begin(): void {
    const [first = 0, second = 0] = this.#header;
    const length = second & LENGTH;
    this.#payloadLeft =
      length === 126 ? this.#header.readUInt16BE(2) : length === 127 ? Number(this.#header.readBigUInt64BE(2)) : length;
    this.#headerBytes = 0;
    const isControl = (first & OPCODE) >= FIRST_CONTROL_OPCODE;
    if (!isControl) this.#inFragments = (first & FIN) === 0;
    this.#isLast = !this.#inFragments;
  }
}
