import { type AudioFrame, type SilentFrame, silentFrame } from '@weir/frames';
import type { AudioTrack, Sample } from '@weir/mp4';

/** A frame within this distance of the end of the previous frame follows it without a hole. */
const TOLERANCE_MS = 60;
/** When audio is off from the wall clock by more than this for this long, its place in time is determined again. */
const MAX_SKEW_MS = 100;
const SKEW_PATIENCE_MS = 1_500;
/** A frame this far off means that the sender's clock was set, or that one packet has a wrong timestamp. */
const MAX_JUMP_MS = 1_000;
const MAX_PATIENCE_MS = 3_000;

/**
 * Audio samples that wait for their part. They follow each other without holes, because players stop at holes and media
 * source buffers don't play video where audio is missing. Silence replaces lost and late audio; overlaps are dropped.
 */
export class AudioQueue {
  readonly track: AudioTrack;
  readonly #silence: SilentFrame | undefined;
  readonly #ticksPerMs: number;
  readonly #toleranceTicks: number;
  readonly #frameTicks: number;
  #samples: Sample[] = [];
  #startTicks = 0;
  #endTicks = 0;
  /** Difference between RTP timestamps and track time. */
  #offsetTicks: number | undefined;
  #skewSinceTicks: number | undefined;
  #patienceMs: number;
  /** Silence was inserted because audio is missing, and will be until audio arrives. */
  #isMissing = false;

  constructor(track: AudioTrack, options: { aacFrameTicks: number; patienceMs: number }) {
    this.track = track;
    this.#ticksPerMs = track.timescale / 1000;
    this.#silence = silentFrame(track, options.aacFrameTicks);
    this.#frameTicks = track.codec === 'opus' ? 960 : options.aacFrameTicks;
    this.#toleranceTicks = Math.max(TOLERANCE_MS * this.#ticksPerMs, 1.5 * this.#frameTicks);
    this.#patienceMs = options.patienceMs;
  }

  get endMs(): number {
    return this.#endTicks / this.#ticksPerMs;
  }

  get hasSamples(): boolean {
    return this.#samples.length > 0;
  }

  /** Drops waiting samples and starts a new stretch at this time or later. */
  restart(mediaMs: number): void {
    this.#samples = [];
    this.#startTicks = this.#endTicks = Math.max(this.#startTicks, Math.round(mediaMs * this.#ticksPerMs));
    this.#offsetTicks = undefined;
  }

  /**
   * Drops waiting samples from this time on, because that time was removed from the timeline. The next frame is placed
   * anew.
   */
  cutAfter(mediaMs: number): void {
    const limitTicks = mediaMs * this.#ticksPerMs;
    while (this.#samples.length > 0 && this.#endTicks > limitTicks) {
      this.#endTicks -= this.#samples.pop()!.durationTicks;
    }
    this.#offsetTicks = undefined;
  }

  /** `mediaMs` is where the wall clock places the frame; `edgeMs` is the end of the video so far. */
  push(frame: AudioFrame, mediaMs: number, edgeMs: number): void {
    const placed = Math.round(mediaMs * this.#ticksPerMs);
    this.#offsetTicks ??= placed - frame.rtpTimestamp;
    let ticks = frame.rtpTimestamp + this.#offsetTicks;
    if (this.#isMisplaced(ticks, placed)) {
      this.#offsetTicks = placed - frame.rtpTimestamp;
      ticks = placed;
    }
    this.#isMissing = false;
    const gap = ticks - this.#endTicks;
    if (gap < -this.#toleranceTicks) {
      const lateMs = edgeMs - ticks / this.#ticksPerMs;
      if (lateMs > this.#patienceMs) this.#patienceMs = Math.min(MAX_PATIENCE_MS, lateMs + 100);
      return;
    }
    if (gap > this.#toleranceTicks) this.#fillTo(ticks);
    this.#append(frame.data, frame.durationTicks);
  }

  /**
   * Returns the samples before `mediaMs`. If audio is later than the patience allows, silence fills the time up to
   * there.
   */
  takeUntil(mediaMs: number): { decodeTimeTicks: number; samples: Sample[] } {
    const untilTicks = mediaMs * this.#ticksPerMs;
    if (mediaMs - this.endMs > this.#patienceMs) this.#isMissing = true;
    if (this.#isMissing) this.#fillTo(untilTicks);
    const decodeTimeTicks = this.#startTicks;
    let count = 0;
    while (count < this.#samples.length && this.#startTicks < untilTicks) {
      this.#startTicks += this.#samples[count++]!.durationTicks;
    }
    return { decodeTimeTicks, samples: this.#samples.splice(0, count) };
  }

  #isMisplaced(ticks: number, placed: number): boolean {
    const skew = Math.abs(ticks - placed) / this.#ticksPerMs;
    if (skew > MAX_JUMP_MS) return true;
    if (skew <= MAX_SKEW_MS) {
      this.#skewSinceTicks = undefined;
      return false;
    }
    this.#skewSinceTicks ??= ticks;
    if (Math.abs(ticks - this.#skewSinceTicks) < SKEW_PATIENCE_MS * this.#ticksPerMs) return false;
    this.#skewSinceTicks = undefined;
    return true;
  }

  #fillTo(ticks: number): void {
    if (this.#silence === undefined) return this.#stretchTo(Math.round(ticks));
    while (this.#endTicks + this.#silence.durationTicks <= ticks) {
      this.#append(this.#silence.data, this.#silence.durationTicks);
    }
  }

  /** There is no silent frame for this layout, so the sample before the hole lasts longer. */
  #stretchTo(ticks: number): void {
    const last = this.#samples.at(-1);
    if (ticks <= this.#endTicks) return;
    if (last === undefined) this.#startTicks = ticks;
    else last.durationTicks += ticks - this.#endTicks;
    this.#endTicks = ticks;
  }

  #append(data: Uint8Array, durationTicks: number): void {
    this.#endTicks += durationTicks;
    this.#samples.push({
      durationTicks,
      compositionOffsetTicks: 0,
      isSync: true,
      bytes: data.length,
      chunks: [data],
      hasNalLengths: false,
    });
  }
}
