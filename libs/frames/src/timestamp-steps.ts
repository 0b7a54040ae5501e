/** What a timestamp says beyond the time that has passed since the one before: more can't be, less is a late arrival. */
const MAX_AHEAD_MS = 1_000;
const MAX_BACK_MS = 1_000;

interface Arrival {
  mediaMs: number;
  nowMs: number;
}

/**
 * Tells a source's steps in time from single wild claims. A timestamp that doesn't fit is a stray until the next one goes
 * on from it: one packet proves nothing, two that agree are a new numbering.
 */
export class TimestampSteps {
  #last: Arrival | undefined;
  #stray: Arrival | undefined;

  /**
   * To be asked about each frame in the order of decoding. `maxBackMs`: how far reordered pictures may lie before those
   * decoded earlier.
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

  /** This one is believed, whatever came before. */
  restart(mediaMs: number, nowMs: number): void {
    this.#last = { mediaMs, nowMs };
    this.#stray = undefined;
  }
}

function follows(before: Arrival, { mediaMs, nowMs }: Arrival, maxBackMs: number): boolean {
  const claimedMs = mediaMs - before.mediaMs;
  return claimedMs >= -maxBackMs && claimedMs - (nowMs - before.nowMs) <= MAX_AHEAD_MS;
}
