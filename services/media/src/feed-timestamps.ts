import { TimestampSteps } from '@weir/frames';

/** A source whose timestamps lag behind the arrival by this much has stopped its clock, and isn't only slow. */
const MAX_LAG_MS = 5_000;

/**
 * The timestamps of a feed. They rise with the time that passes, whatever those of the source do: a browser shows a
 * picture when its timestamp says so, and all later pictures wait for it.
 */
export class FeedTimestamps {
  readonly #ticksPerMs: number;
  readonly #steps = new TimestampSteps();
  /** What is added to a timestamp of the source. */
  #offset: number;
  #last: { readonly timestamp: number; readonly atMs: number } | undefined;

  constructor(clockRate: number, offset: number) {
    this.#ticksPerMs = clockRate / 1_000;
    this.#offset = offset;
  }

  /** The feed begins behind a frame with this timestamp. */
  begin(rtpTimestamp: number, nowMs: number): number {
    this.#steps.restart(rtpTimestamp / this.#ticksPerMs, nowMs);
    return this.#give(rtpTimestamp + this.#offset, nowMs);
  }

  /** @param rtpTimestamp that of the source, unwrapped; frames must come in the order in which they are shown */
  next(rtpTimestamp: number, nowMs: number): number {
    const step = this.#steps.judge(rtpTimestamp / this.#ticksPerMs, nowMs, 0);
    const last = this.#last;
    if (last === undefined) return this.#give(rtpTimestamp + this.#offset, nowMs);
    const byArrival = last.timestamp + Math.max(1, Math.round((nowMs - last.atMs) * this.#ticksPerMs));
    switch (step) {
      case 'stray':
        return this.#give(byArrival, nowMs);
      case 'stepped':
        this.#offset = byArrival - rtpTimestamp;
        return this.#give(byArrival, nowMs);
      case 'follows': {
        const timestamp = rtpTimestamp + this.#offset;
        if (byArrival - timestamp >= MAX_LAG_MS * this.#ticksPerMs) this.#offset = byArrival - rtpTimestamp;
        return this.#give(Math.max(last.timestamp + 1, rtpTimestamp + this.#offset), nowMs);
      }
      default:
        return step satisfies never;
    }
  }

  #give(timestamp: number, atMs: number): number {
    this.#last = { timestamp, atMs };
    return timestamp;
  }
}
