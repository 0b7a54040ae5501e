/** How far a source's clock may be off before it is corrected: as far as the worst crystal takes it, and not further. */
const WORST_CRYSTAL = 0.006;
const SMALL_DRIFT_MS = 100;
const MAX_DRIFT_MS = 600;
/** In which what is beyond would be made good, and by how much pictures may be shown faster or slower for it. */
const CORRECTION_MS = 4_000;
const MAX_CORRECTION = 0.15;
const STEER_INTERVAL_MS = 500;

/**
 * RTP timestamps to media times. The mapping never jumps: a source whose clock runs too fast or too slow has its pictures
 * shown a little shorter or longer, so that the media time keeps pace with the viewers'. All times in ticks.
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

  /** So much time is left out: later pictures are shown as much earlier. */
  skip(ticks: number): void {
    this.#anchor = { ...this.#anchor, rtpTimestamp: this.#anchor.rtpTimestamp + ticks };
  }

  /** `behindMs`: how far the media time has fallen behind the wall clock; `rtpTimestamp` is the newest. */
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
