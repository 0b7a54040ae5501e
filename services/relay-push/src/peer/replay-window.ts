const WINDOW_BITS = 1_024;

/**
 * Knows which packet indexes have come (RFC 3711 section 3.3.2). An index that is too old for the window counts as
 * seen.
 */
export class ReplayWindow {
  readonly #bits = new Uint8Array(WINDOW_BITS);
  #highest = -1;

  hasSeen(index: number): boolean {
    if (index > this.#highest) return false;
    return this.#highest - index >= WINDOW_BITS || this.#bits[index % WINDOW_BITS] === 1;
  }

  add(index: number): void {
    if (index > this.#highest) {
      if (index - this.#highest >= WINDOW_BITS) this.#bits.fill(0);
      else for (let between = this.#highest + 1; between < index; between += 1) this.#bits[between % WINDOW_BITS] = 0;
      this.#highest = index;
    }
    this.#bits[index % WINDOW_BITS] = 1;
  }
}
