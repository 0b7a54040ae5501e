const TICK_INTERVAL_MS = 250;
const MAX_STEP_MS = 500;

/**
 * Milliseconds that the process has been awake, for whoever counts somebody's silence. While the process is paused or
 * its event loop is blocked nothing can be heard, so of such a time no more than half a second counts, and the system
 * time may be set without any effect.
 */
export class AwakeClock {
  #awakeMs = 0;
  #tickedMs = performance.now();

  constructor() {
    setInterval(() => {
      this.#awakeMs = this.nowMs();
      this.#tickedMs = performance.now();
    }, TICK_INTERVAL_MS).unref();
  }

  nowMs(): number {
    return this.#awakeMs + Math.min(performance.now() - this.#tickedMs, MAX_STEP_MS);
  }
}

let clock: AwakeClock | undefined;

/** The process's one `AwakeClock`. Comparable with nothing but itself. */
export const awakeNowMs = (): number => (clock ??= new AwakeClock()).nowMs();
