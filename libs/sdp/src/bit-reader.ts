/** Reads bits, most significant first. Past the end it gives zeros and `isExhausted`. */
export class BitReader {
  private position = 0;

  constructor(private readonly bytes: Uint8Array) {}

  get isExhausted(): boolean {
    return this.position > this.bytes.length * 8;
  }

  /** Up to 32 bits. */
  read(count: number): number {
    let value = 0;
    for (let index = 0; index < count; index++) {
      const byte = this.bytes[this.position >> 3] ?? 0;
      value = value * 2 + ((byte >> (7 - (this.position & 7))) & 1);
      this.position++;
    }
    return value;
  }

  readFlag(): boolean {
    return this.read(1) === 1;
  }

  skip(count: number): void {
    this.position += count;
  }

  /** Exp-Golomb ue(v), H.264 section 9.1. */
  readUnsignedGolomb(): number {
    let zeros = 0;
    while (zeros < 32 && !this.isExhausted && this.read(1) === 0) zeros++;
    return 2 ** zeros - 1 + this.read(zeros);
  }

  /** Exp-Golomb se(v). */
  readSignedGolomb(): number {
    const code = this.readUnsignedGolomb();
    return code % 2 === 1 ? (code + 1) / 2 : -code / 2;
  }
}
