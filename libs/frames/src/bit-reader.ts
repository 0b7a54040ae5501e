/** Reads bits, most significant first. Reading past the end returns zeros and sets `exhausted`. */
export class BitReader {
  readonly #bytes: Uint8Array;
  #position = 0;
  exhausted = false;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  bit(): number {
    const byte = this.#bytes[this.#position >> 3];
    if (byte === undefined) {
      this.exhausted = true;
      return 0;
    }
    const bit = (byte >> (7 - (this.#position & 7))) & 1;
    this.#position++;
    return bit;
  }

  /** Up to 32 bits, unsigned. */
  bits(count: number): number {
    let value = 0;
    for (let i = 0; i < count; i++) value = value * 2 + this.bit();
    return value;
  }

  skip(count: number): void {
    this.#position += count;
    if (this.#position > this.#bytes.length * 8) this.exhausted = true;
  }

  /** Exp-Golomb ue(v) of H.264 §9.1 and H.265 §9.2. */
  unsignedExpGolomb(): number {
    let zeros = 0;
    while (this.bit() === 0) {
      if (this.exhausted || ++zeros > 31) return 0;
    }
    return 2 ** zeros - 1 + this.bits(zeros);
  }

  /** se(v). */
  signedExpGolomb(): number {
    const code = this.unsignedExpGolomb();
    return code % 2 === 1 ? (code + 1) / 2 : -code / 2;
  }
}

/** Removes emulation prevention bytes: 00 00 03 becomes 00 00. */
export function unescapeNalUnit(nalUnit: Uint8Array): Uint8Array {
  const out = new Uint8Array(nalUnit.length);
  let length = 0;
  let zeros = 0;
  for (const byte of nalUnit) {
    if (zeros >= 2 && byte === 3) {
      zeros = 0;
      continue;
    }
    zeros = byte === 0 ? zeros + 1 : 0;
    out[length++] = byte;
  }
  return out.subarray(0, length);
}
