/**
 * Turns a counter that wraps (16 or 32 bits) into one that doesn't, by taking the shortest step from the previous
 * value.
 */
export class Unwrapper {
  readonly #range: number;
  #last: number | undefined;

  constructor(bits: 16 | 32) {
    this.#range = 2 ** bits;
  }

  /**
   * The first result is the first raw value. Backward steps are followed, so a result can be lower than the previous
   * one.
   */
  unwrap(raw: number): number {
    if (this.#last === undefined) {
      this.#last = raw;
      return raw;
    }
    const lastRaw = ((this.#last % this.#range) + this.#range) % this.#range;
    let step = raw - lastRaw;
    if (step > this.#range / 2) step -= this.#range;
    else if (step < -this.#range / 2) step += this.#range;
    this.#last += step;
    return this.#last;
  }

  reset(): void {
    this.#last = undefined;
  }
}
