const TICK_INTERVAL_MS = 250;
const MAX_STEP_MS = 500;

/**
 * The time in ms that the process has been awake; use it to measure how long another party has been silent. While the
 * process is paused or its event loop is blocked it can't receive anything, so at most half a second of each such time
 * counts. Setting the system time has no effect.
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

/** The time of the process's one `AwakeClock`. Compare it only with other readings of this clock. */
export const awakeNowMs = (): number => (clock ??= new AwakeClock()).nowMs();
