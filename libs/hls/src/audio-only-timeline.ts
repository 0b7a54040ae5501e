import type { AudioFrame, VideoFrame } from '@weir/frames';

import type { AudioQueue } from './audio-queue.js';
import type { FrameTime, TimelineContext } from './timeline.js';

/** Parts and segments of a stream without video: cut by time, every part a place to begin. */
export class AudioOnlyTimeline {
  readonly #context: TimelineContext;
  readonly #audio: AudioQueue;
  #originMs: number | undefined;
  #partStartMs: number | undefined;
  #lastNowMs = 0;
  #hasInit = false;

  constructor(context: TimelineContext, audio: AudioQueue) {
    this.#context = context;
    this.#audio = audio;
  }

  pushVideo(_frame: VideoFrame, _time: FrameTime): void {
    // Not announced, so not in the initialisation segment.
  }

  pushAudio(frame: AudioFrame, { wallClockMs, nowMs }: FrameTime): void {
    if (frame.codec !== this.#audio.track.codec) return;
    this.advance(nowMs);
    this.#lastNowMs = nowMs;
    this.#originMs ??= wallClockMs;
    const mediaMs = wallClockMs - this.#originMs;
    if (this.#partStartMs !== undefined && Math.abs(mediaMs - this.#audio.endMs) > this.#context.maxSegmentMs) {
      this.interrupt();
    }
    if (this.#partStartMs === undefined) {
      this.#audio.restart(mediaMs);
      this.#partStartMs = this.#audio.endMs;
    }
    if (!this.#hasInit) this.#context.writer.writeInit([this.#audio.track], undefined);
    this.#hasInit = true;
    this.#audio.push(frame, mediaMs, this.#audio.endMs);
    this.#context.pacing.learn((frame.durationTicks * 1000) / this.#audio.track.timescale);
    this.#writeDueParts();
  }

  advance(nowMs: number): void {
    if (this.#partStartMs !== undefined && nowMs - this.#lastNowMs > this.#context.maxSegmentMs) this.interrupt();
  }

  interrupt(): void {
    this.#context.pacing.settle();
    if (this.#partStartMs !== undefined && this.#audio.hasSamples) this.#writePart(this.#audio.endMs);
    this.#partStartMs = undefined;
    this.#context.writer.interrupt();
  }

  #writeDueParts(): void {
    const { pacing, writer } = this.#context;
    while (pacing.dueMs !== undefined && pacing.isDue(this.#audio.endMs - this.#partStartMs!)) {
      // Half a millisecond less than due, so that rounding doesn't add a frame.
      this.#writePart(this.#partStartMs! + pacing.dueMs - 0.5);
      const segmentMs = (writer.isFirst && this.#context.firstSegmentMs) || this.#context.segmentMs;
      if (writer.segmentMs(this.#partStartMs!) >= segmentMs * 0.95) writer.endSegment();
    }
  }

  #writePart(untilMs: number): void {
    const startMs = this.#partStartMs!;
    const { trackId, timescale } = this.#audio.track;
    const { decodeTimeTicks, samples } = this.#audio.takeUntil(untilMs);
    const ticks = samples.reduce((sum, sample) => sum + sample.durationTicks, 0);
    // A sample that stands for a hole may last longer; what remains of it is the next part's.
    const endMs = Math.min(((decodeTimeTicks + ticks) * 1000) / timescale, startMs + this.#context.pacing.targetMs);
    this.#context.writer.writePart({
      startMs,
      endMs,
      programDateTimeMs: this.#originMs! + startMs,
      isIndependent: true,
      videoFrames: 0,
      runs: [{ trackId, decodeTimeTicks, samples }],
    });
    this.#partStartMs = endMs;
  }
}
