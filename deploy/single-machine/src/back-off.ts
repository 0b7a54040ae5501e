import { backOffMs } from '@weir/timing';

const PACE = { firstMs: 200, maxMs: 10_000 };
/** If a process ran for this long, its next end is treated like the first one. */
const PROVEN_AFTER_MS = 30_000;

/** How long to wait before a process that keeps ending is started again. */
export class BackOff {
  #endings = 0;

  /** @param ranForMs how long the process that has just ended had run */
  nextDelayMs(ranForMs: number): number {
    if (ranForMs >= PROVEN_AFTER_MS) this.#endings = 0;
    return backOffMs(PACE, this.#endings++);
  }
}
