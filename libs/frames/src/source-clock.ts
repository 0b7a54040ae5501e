import { Unwrapper } from './unwrapper.js';

/** How long a lowest delay counts: long enough to meet a packet without jitter, short enough to follow clock drift. */
const WINDOW_MS = 10_000;
/** No network delays packets so much: the clock was set, or the timestamps began anew. */
const JUMP_MS = 5_000;

/** The lowest of recent values, over one to two windows. */
class RecentMinimum {
  #windowStartMs = Number.NEGATIVE_INFINITY;
  #current = Number.POSITIVE_INFINITY;
  #previous = Number.POSITIVE_INFINITY;

  /** Returns true when the value is so far from the ones before that they were forgotten. */
  add(value: number, nowMs: number): boolean {
    if (Number.isFinite(this.value) && Math.abs(value - this.value) > JUMP_MS) {
      this.#windowStartMs = nowMs;
      this.#current = value;
      this.#previous = Number.POSITIVE_INFINITY;
      return true;
    }
    if (nowMs - this.#windowStartMs >= WINDOW_MS) {
      this.#windowStartMs = nowMs;
      this.#previous = this.#current;
      this.#current = value;
    } else if (value < this.#current) this.#current = value;
    return false;
  }

  get value(): number {
    return Math.min(this.#current, this.#previous);
  }
}

export interface TrackClock {
  /** To be told of each packet or frame; `rtpTimestamp` unwrapped. */
  arrived(rtpTimestamp: number, nowMs: number): void;
  /** `rtpTimestamp` as in the report (32 bits), `ntpMs` by the sender's clock. */
  senderReport(report: { ntpMs: number; rtpTimestamp: number }): void;
  /** When that instant of the media was captured, by our clock and less the least network delay; undefined before the first arrival. */
  wallClockMs(rtpTimestamp: number): number | undefined;
}

/**
 * Maps the RTP timestamps of one source's tracks to our wall clock (RFC 3550 §6.4.1). Tracks with sender reports are
 * lined up by the sender's clock, whose distance to ours is taken from the least delayed packets of all tracks; a track
 * without a report is placed by its own arrivals.
 */
export class SourceClock {
  readonly #ntpToLocalMs = new RecentMinimum();

  track(clockRate: number): TrackClock {
    const ticksPerMs = clockRate / 1000;
    const arrivals = new RecentMinimum();
    const reportTimestamps = new Unwrapper(32);
    let reference: { ntpMs: number; rtpTimestamp: number } | undefined;
    let last: number | undefined;
    const ntpMs = (rtpTimestamp: number) =>
      reference && reference.ntpMs + (rtpTimestamp - reference.rtpTimestamp) / ticksPerMs;
    return {
      arrived: (rtpTimestamp, nowMs) => {
        last = rtpTimestamp;
        if (arrivals.add(nowMs - rtpTimestamp / ticksPerMs, nowMs)) reference = undefined;
        const senderMs = ntpMs(rtpTimestamp);
        if (senderMs !== undefined) this.#ntpToLocalMs.add(nowMs - senderMs, nowMs);
      },
      senderReport: (report) => {
        if (last === undefined || report.ntpMs <= 0) return;
        reportTimestamps.reset();
        const base = ((last % 2 ** 32) + 2 ** 32) % 2 ** 32;
        const distance = reportTimestamps.unwrap(base) * -1 + reportTimestamps.unwrap(report.rtpTimestamp);
        reference = { ntpMs: report.ntpMs, rtpTimestamp: last + distance };
      },
      wallClockMs: (rtpTimestamp) => {
        if (last === undefined) return undefined;
        const senderMs = ntpMs(rtpTimestamp);
        const offsetMs = this.#ntpToLocalMs.value;
        if (senderMs !== undefined && Number.isFinite(offsetMs)) return senderMs + offsetMs;
        return rtpTimestamp / ticksPerMs + arrivals.value;
      },
    };
  }
}
