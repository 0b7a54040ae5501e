import type { AudioFrame, VideoFrame } from '@weir/frames';

import type { AudioQueue } from './audio-queue.js';
import type { FrameTime, TimelineContext } from './timeline.js';

/**
 * Makes the parts and segments of a stream without video. They are cut by time, and a player can start at every part.
 */
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
    // The track wasn't announced, so the initialisation segment doesn't have it.
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
      // Stops half a millisecond early, so that rounding doesn't add a frame.
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
    // A sample that fills a hole may last longer than the part; the rest of it belongs to the next part.
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
