import { type NtpTime, unixMsOf } from './ntp-time.js';
import { TimestampSteps } from './timestamp-steps.js';
import { Unwrapper } from './unwrapper.js';

/**
 * How long a lowest delay counts: long enough to include a packet without jitter, short enough to follow a bad clock.
 */
const WINDOW_MS = 2_000;
/** No network delays packets by this much: the clock was set, or the timestamps restarted. */
const JUMP_MS = 5_000;
/** No clock drifts this far between two reports: the sender's clock was set. */
const MAX_REPORT_STEP_MS = 500;

/** The lowest of the recent values, over one to two windows. */
class RecentMinimum {
  #windowStartMs = Number.NEGATIVE_INFINITY;
  #current = Number.POSITIVE_INFINITY;
  #previous = Number.POSITIVE_INFINITY;

  /** Returns true if the value is so far from the earlier ones that they were discarded. */
  add(value: number, nowMs: number): boolean {
    if (Number.isFinite(this.value) && Math.abs(value - this.value) > JUMP_MS) {
      this.restart(value, nowMs);
      return true;
    }
    if (nowMs - this.#windowStartMs >= WINDOW_MS) {
      this.#windowStartMs = nowMs;
      this.#previous = this.#current;
      this.#current = value;
    } else if (value < this.#current) this.#current = value;
    return false;
  }

  restart(value: number, nowMs: number): void {
    this.#windowStartMs = nowMs;
    this.#current = value;
    this.#previous = Number.POSITIVE_INFINITY;
  }

  get value(): number {
    return Math.min(this.#current, this.#previous);
  }
}

export interface TrackClock {
  /** Must be called for each packet or frame; `rtpTimestamp` is unwrapped. */
  arrived(rtpTimestamp: number, nowMs: number): void;
  /** `rtpTimestamp` is the 32-bit value from the report; the time is by the sender's clock. */
  senderReport(report: NtpTime & { rtpTimestamp: number }): void;
  /**
   * When the media with this timestamp was captured, by the local clock and assuming the lowest network delay;
   * undefined before the first arrival.
   */
  wallClockMs(rtpTimestamp: number): number | undefined;
  /**
   * When it was captured by the sender's clock, in milliseconds since 1970; undefined until a sender report has told it,
   * and for a timestamp that doesn't fit.
   */
  senderMs(rtpTimestamp: number): number | undefined;
  /** The same as `wallClockMs`, judged by this track's arrivals alone. */
  arrivalMs(rtpTimestamp: number): number | undefined;
}

/**
 * Maps the RTP timestamps of one source's tracks to the local wall clock (RFC 3550 §6.4.1). Tracks with sender reports
 * are aligned by the sender's clock; its offset to the local clock comes from the least delayed packets of all tracks.
 * A track without reports is placed by its own arrivals. When the sender's clock is set, the tracks stay where they
 * are, because reports only serve to align the tracks with each other and not to tell the time. A single timestamp that
 * doesn't fit is placed by its arrival and doesn't affect later ones.
 */
export class SourceClock {
  readonly #ntpToLocalMs = new RecentMinimum();

  track(clockRate: number): TrackClock {
    const ticksPerMs = clockRate / 1000;
    const arrivals = new RecentMinimum();
    const steps = new TimestampSteps();
    const reportTimestamps = new Unwrapper(32);
    let reference: { ntpMs: number; rtpTimestamp: number } | undefined;
    /** By how much the sender's clock was set since its first report. */
    let setByMs = 0;
    let last: number | undefined;
    let lastDelayMs = 0;
    let delayAtReportMs = 0;
    let stray: { rtpTimestamp: number; nowMs: number } | undefined;
    const ntpMs = (rtpTimestamp: number) =>
      reference && reference.ntpMs + (rtpTimestamp - reference.rtpTimestamp) / ticksPerMs;
    return {
      arrived: (rtpTimestamp, nowMs) => {
        const step = steps.judge(rtpTimestamp / ticksPerMs, nowMs);
        stray = step === 'stray' ? { rtpTimestamp, nowMs } : undefined;
        if (step === 'stray') return;
        last = rtpTimestamp;
        const delayMs = nowMs - rtpTimestamp / ticksPerMs;
        lastDelayMs = delayMs;
        if (step === 'stepped') arrivals.restart(delayMs, nowMs);
        if (step === 'stepped' || arrivals.add(delayMs, nowMs)) reference = undefined;
        const senderMs = ntpMs(rtpTimestamp);
        if (senderMs !== undefined) this.#ntpToLocalMs.add(nowMs - senderMs, nowMs);
      },
      senderReport: (report) => {
        const reportMs = unixMsOf(report);
        if (last === undefined || reportMs <= 0) return;
        reportTimestamps.reset();
        const base = ((last % 2 ** 32) + 2 ** 32) % 2 ** 32;
        const distance = reportTimestamps.unwrap(base) * -1 + reportTimestamps.unwrap(report.rtpTimestamp);
        const rtpTimestamp = last + distance;
        const stepMs = reportMs - setByMs - (ntpMs(rtpTimestamp) ?? reportMs - setByMs);
        // If the arrivals have the same step, it isn't the sender's clock but the timestamps that were set.
        const isOfTimestamps = Math.abs(stepMs - (lastDelayMs - delayAtReportMs)) < Math.abs(stepMs) / 2;
        if (Math.abs(stepMs) > MAX_REPORT_STEP_MS && !isOfTimestamps) setByMs += stepMs;
        delayAtReportMs = lastDelayMs;
        reference = { ntpMs: reportMs - setByMs, rtpTimestamp };
      },
      wallClockMs: (rtpTimestamp) => {
        if (last === undefined) return undefined;
        if (rtpTimestamp === stray?.rtpTimestamp) return stray.nowMs;
        const senderMs = ntpMs(rtpTimestamp);
        const offsetMs = this.#ntpToLocalMs.value;
        if (senderMs !== undefined && Number.isFinite(offsetMs)) return senderMs + offsetMs;
        return rtpTimestamp / ticksPerMs + arrivals.value;
      },
      senderMs: (rtpTimestamp) => (rtpTimestamp === stray?.rtpTimestamp ? undefined : ntpMs(rtpTimestamp)),
      arrivalMs: (rtpTimestamp) => {
        if (last === undefined) return undefined;
        return rtpTimestamp === stray?.rtpTimestamp ? stray.nowMs : rtpTimestamp / ticksPerMs + arrivals.value;
      },
    };
  }
}
