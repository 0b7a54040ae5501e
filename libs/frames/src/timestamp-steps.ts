/**
 * How far a timestamp may run ahead of the time since the previous one; a larger lead isn't plausible, but a late
 * arrival may lag.
 */
const MAX_AHEAD_MS = 1_000;
const MAX_BACK_MS = 1_000;

interface Arrival {
  mediaMs: number;
  nowMs: number;
}

/**
 * Distinguishes a source's real steps in time from single wrong timestamps. A timestamp that doesn't fit is a stray
 * until the next one continues from it: one packet proves nothing, two that agree mean new numbering.
 */
export class TimestampSteps {
  #last: Arrival | undefined;
  #stray: Arrival | undefined;

  /**
   * Must be called for each frame in decoding order. `maxBackMs` is by how much a reordered picture may be shown before
   * pictures that were decoded earlier.
   */
  judge(mediaMs: number, nowMs: number, maxBackMs = MAX_BACK_MS): 'follows' | 'stray' | 'stepped' {
    const arrival = { mediaMs, nowMs };
    if (this.#last === undefined || follows(this.#last, arrival, maxBackMs)) {
      this.restart(mediaMs, nowMs);
      return 'follows';
    }
    if (this.#stray !== undefined && follows(this.#stray, arrival, maxBackMs)) {
      this.restart(mediaMs, nowMs);
      return 'stepped';
    }
    this.#stray = arrival;
    return 'stray';
  }

  /** Accepts this timestamp, whatever came before. */
  restart(mediaMs: number, nowMs: number): void {
    this.#last = { mediaMs, nowMs };
    this.#stray = undefined;
  }
}

function follows(before: Arrival, { mediaMs, nowMs }: Arrival, maxBackMs: number): boolean {
  const claimedMs = mediaMs - before.mediaMs;
  return claimedMs >= -maxBackMs && claimedMs - (nowMs - before.nowMs) <= MAX_AHEAD_MS;
}
