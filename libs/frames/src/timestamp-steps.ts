/**
 * How far a timestamp may be off, whatever the source's pace is. A larger lead over the arrival isn't plausible, because no
 * network delivers a frame too early; a late arrival may lag by any time.
 */
const LEAST_TOLERANCE_MS = 80;
const MOST_TOLERANCE_MS = 1_000;
/** Within these bounds, it may be off by so many of the source's intervals, because a frame may be lost. */
const TOLERATED_INTERVALS = 2;
/** More than a source has between two frames that aren't reordered. */
const REMEMBERED_INTERVALS = 20;
/** After a pause it may be off by this fraction of the pause, because the frame before may have been delayed. */
const TOLERATED_PART_OF_PAUSE = 0.25;

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
  /** Between the timestamps of the last frames; negative where they were reordered. Empty before the second frame. */
  readonly #intervalsMs: number[] = [];

  /**
   * Must be called for each frame in decoding order. `maxBackMs` is by how much a reordered picture may be shown before
   * pictures that were decoded earlier.
   */
  judge(mediaMs: number, nowMs: number, maxBackMs = MOST_TOLERANCE_MS): 'follows' | 'stray' | 'stepped' {
    const arrival = { mediaMs, nowMs };
    if (this.#last === undefined || this.#follows(this.#last, arrival, maxBackMs)) {
      if (this.#last !== undefined) this.#remember(mediaMs - this.#last.mediaMs);
      this.restart(mediaMs, nowMs);
      return 'follows';
    }
    if (this.#stray !== undefined && this.#follows(this.#stray, arrival, maxBackMs)) {
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

  #follows(before: Arrival, { mediaMs, nowMs }: Arrival, maxBackMs: number): boolean {
    const claimedMs = mediaMs - before.mediaMs;
    const elapsedMs = nowMs - before.nowMs;
    const toleranceMs = this.#toleranceMs;
    const maxAheadMs = Math.min(MOST_TOLERANCE_MS, Math.max(toleranceMs, TOLERATED_PART_OF_PAUSE * elapsedMs));
    return claimedMs >= -Math.min(maxBackMs, toleranceMs) && claimedMs - elapsedMs <= maxAheadMs;
  }

  /** Reordered frames are as far apart as the longest interval. Others are judged by the usual one, which no stray changes. */
  get #toleranceMs(): number {
    if (this.#intervalsMs.length === 0) return MOST_TOLERANCE_MS;
    const lengths = this.#intervalsMs.map(Math.abs).sort((a, b) => a - b);
    const isReordered = this.#intervalsMs.some((interval) => interval < 0);
    const paceMs = lengths[isReordered ? lengths.length - 1 : lengths.length >> 1] ?? 0;
    return Math.min(MOST_TOLERANCE_MS, Math.max(LEAST_TOLERANCE_MS, TOLERATED_INTERVALS * paceMs));
  }

  #remember(intervalMs: number): void {
    this.#intervalsMs.push(intervalMs);
    if (this.#intervalsMs.length > REMEMBERED_INTERVALS) this.#intervalsMs.shift();
  }
}
