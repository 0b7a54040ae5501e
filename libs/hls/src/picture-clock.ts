/**
 * How far a source's clock may be off before it is corrected. This allows for the drift of the worst crystal and no
 * more.
 */
const WORST_CRYSTAL = 0.006;
const SMALL_DRIFT_MS = 100;
const MAX_DRIFT_MS = 600;
/** The time in which an excess would be made up, and the limit for showing pictures faster or slower meanwhile. */
const CORRECTION_MS = 4_000;
const MAX_CORRECTION = 0.15;
const STEER_INTERVAL_MS = 500;

/**
 * Maps RTP timestamps to media times. The mapping never jumps: if a source's clock is too fast or too slow, its
 * pictures are shown slightly shorter or longer, so that media time keeps pace with the viewers. All times are in
 * ticks.
 */
export class PictureClock {
  readonly #ticksPerMs: number;
  readonly #startPts: number;
  #anchor: { rtpTimestamp: number; pts: number };
  #rate = 1;

  constructor(timescale: number, rtpTimestamp: number, pts: number) {
    this.#ticksPerMs = timescale / 1000;
    this.#startPts = pts;
    this.#anchor = { rtpTimestamp, pts };
  }

  ptsOf(rtpTimestamp: number): number {
    const { rtpTimestamp: from, pts } = this.#anchor;
    return pts + Math.round((rtpTimestamp - from) * this.#rate);
  }

  /** Leaves out this much time: later pictures are shown earlier by the same amount. */
  skip(ticks: number): void {
    this.#anchor = { ...this.#anchor, rtpTimestamp: this.#anchor.rtpTimestamp + ticks };
  }

  /** `behindMs` is how far media time has fallen behind the wall clock; `rtpTimestamp` is the newest timestamp. */
  steer(rtpTimestamp: number, behindMs: number): void {
    if (rtpTimestamp - this.#anchor.rtpTimestamp < STEER_INTERVAL_MS * this.#ticksPerMs) return;
    const pts = this.ptsOf(rtpTimestamp);
    const elapsedMs = (pts - this.#startPts) / this.#ticksPerMs;
    const allowedMs = Math.min(MAX_DRIFT_MS, SMALL_DRIFT_MS + WORST_CRYSTAL * elapsedMs);
    const excessMs = Math.max(0, Math.abs(behindMs) - allowedMs);
    this.#rate = 1 + Math.sign(behindMs) * Math.min(MAX_CORRECTION, excessMs / CORRECTION_MS);
    this.#anchor = { rtpTimestamp, pts };
  }
}
