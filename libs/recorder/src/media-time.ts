import { type SenderReport, SourceClock, type TrackClock } from '@weir/frames';

/** The sender's clock is followed this slowly, because congestion looks like a slow clock for some seconds. */
const FOLLOW_MS = 100_000;
const MAX_FOLLOW = 0.002;
/** A new source whose clock differs by more than this has another clock than the source before. */
const OTHER_CLOCK_MS = 300;
/** A correction up to this is spread, so that nothing jumps in the file … */
const MAX_SPREAD_MS = 700;
/** … over about this time, by pictures that are shown slightly faster or slower. */
const SPREAD_MS = { told: 2_000, guessed: 5_000 };
const MAX_SPREAD = 0.1;

/** Where a frame belongs, by the local clock. `isTold`: a sender report says so, not only the time of arrival. */
export interface Target {
  readonly ms: number;
  readonly isTold: boolean;
}

/**
 * Puts the tracks of one source on one timeline. A track with sender reports is placed by the sender's clock, so that
 * the network's delays don't matter. One without them is placed by its arrivals. When the numbers of a source change,
 * the track keeps the delay that its reports have shown, until the next report.
 */
export class MediaTime {
  readonly #source = new SourceClock();
  #senderToLocalMs = Number.NaN;
  /** How much later than `#senderToLocalMs` says the quickest packets arrive. */
  #lagMs = 0;
  #followedAtMs = 0;

  track(clockRate: number): TrackTime {
    return new TrackTime(this.#source.track(clockRate), clockRate / 1000, this);
  }

  /** Returns the local clock minus the sender's. `actualMs` is the same difference as the newest packets show it. */
  follow(actualMs: number, nowMs: number): number {
    const elapsedMs = Math.min(1_000, Math.max(0, nowMs - this.#followedAtMs));
    this.#followedAtMs = nowMs;
    const stepMs = (actualMs - this.#lagMs - this.#senderToLocalMs) * (elapsedMs / FOLLOW_MS);
    const maxStepMs = MAX_FOLLOW * elapsedMs;
    this.#senderToLocalMs += Math.max(-maxStepMs, Math.min(maxStepMs, stepMs));
    return this.#senderToLocalMs;
  }

  /**
   * Called when a track's reports begin. If they show another clock than the reports of the other tracks, or if they
   * are the first, their clock is taken over, and what was placed so far stays where it is.
   */
  meet(senderToLocalMs: number, actualMs: number): void {
    const isOther = Math.abs(senderToLocalMs - this.#senderToLocalMs) > OTHER_CLOCK_MS;
    if (isOther || Number.isNaN(this.#senderToLocalMs)) this.#senderToLocalMs = senderToLocalMs;
    this.#lagMs = actualMs - this.#senderToLocalMs;
  }
}

export class TrackTime {
  #lagMs = 0;
  #wasTold = false;
  #offsetMs: number | undefined;
  #lastMs: number | undefined;

  constructor(
    private readonly clock: TrackClock,
    private readonly ticksPerMs: number,
    private readonly time: MediaTime,
  ) {}

  senderReport(report: SenderReport): void {
    this.clock.senderReport(report);
  }

  /** When it was captured, by the sender's clock. */
  senderMs(rtpTimestamp: number): number | undefined {
    return this.clock.senderMs(rtpTimestamp);
  }

  /** Must be called for each frame. */
  arrived(rtpTimestamp: number, nowMs: number): Target {
    this.clock.arrived(rtpTimestamp, nowMs);
    const arrivalMs = this.clock.arrivalMs(rtpTimestamp) ?? nowMs;
    const senderMs = this.clock.senderMs(rtpTimestamp);
    if (senderMs === undefined) {
      this.#wasTold = false;
      return { ms: arrivalMs - this.#lagMs, isTold: false };
    }
    const actualMs = (this.clock.wallClockMs(rtpTimestamp) ?? nowMs) - senderMs;
    if (!this.#wasTold) this.time.meet(arrivalMs - this.#lagMs - senderMs, actualMs);
    this.#wasTold = true;
    const ms = senderMs + this.time.follow(actualMs, nowMs);
    this.#lagMs = arrivalMs - ms;
    return { ms, isTold: true };
  }

  /** Takes the target of the newest frame as it is, because nothing of this track is written yet. */
  settle(rtpTimestamp: number, target: Target): void {
    this.#offsetMs = target.ms - rtpTimestamp / this.ticksPerMs;
  }

  /** The place of a frame that came before `settle`. Its own target counts only if its numbering is another. */
  settled(rtpTimestamp: number, target: Target): number {
    const ms = rtpTimestamp / this.ticksPerMs + (this.#offsetMs ?? 0);
    return Math.abs(target.ms - ms) > MAX_SPREAD_MS ? target.ms : ms;
  }

  /** The frame's place: as steady as its timestamps, but drawn towards the target. */
  place(rtpTimestamp: number, target: Target): number {
    const rtpMs = rtpTimestamp / this.ticksPerMs;
    const offsetMs = (this.#offsetMs ??= target.ms - rtpMs);
    const awayMs = target.ms - rtpMs - offsetMs;
    if (Math.abs(awayMs) > MAX_SPREAD_MS) this.#offsetMs = target.ms - rtpMs;
    else {
      const elapsedMs = Math.min(1_000, Math.max(0, rtpMs - (this.#lastMs ?? rtpMs)));
      const stepMs = awayMs * (elapsedMs / (target.isTold ? SPREAD_MS.told : SPREAD_MS.guessed));
      const maxStepMs = MAX_SPREAD * elapsedMs;
      this.#offsetMs = offsetMs + Math.max(-maxStepMs, Math.min(maxStepMs, stepMs));
    }
    this.#lastMs = rtpMs;
    return rtpMs + this.#offsetMs;
  }
}
