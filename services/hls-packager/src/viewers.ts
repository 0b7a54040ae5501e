const FORGOTTEN_AFTER_MS = 15_000;
const MAX_KNOWN = 20_000;

/** Estimates the number of viewers from recent requests for the playlist. */
export class Viewers {
  readonly #lastSeenMs = new Map<string, number>();

  /** @param viewer a string that differs for different viewers */
  saw(viewer: string): void {
    this.#lastSeenMs.delete(viewer);
    this.#lastSeenMs.set(viewer, performance.now());
    if (this.#lastSeenMs.size > MAX_KNOWN) this.#forgetOldest();
  }

  get count(): number {
    const endMs = performance.now() - FORGOTTEN_AFTER_MS;
    for (const [viewer, seenMs] of this.#lastSeenMs) {
      if (seenMs >= endMs) break;
      this.#lastSeenMs.delete(viewer);
    }
    return this.#lastSeenMs.size;
  }

  #forgetOldest(): void {
    const oldest = this.#lastSeenMs.keys().next();
    if (!oldest.done) this.#lastSeenMs.delete(oldest.value);
  }
}
