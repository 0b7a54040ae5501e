import {
  codecString,
  type MediaTrack,
  type TrackRun,
  type VideoTrack,
  writeInitSegment,
  writeMediaFragment,
} from '@weir/mp4';

import type { PartPacing } from './part-pacing.js';
import type { SegmentOutput } from './segment-output.js';

interface OpenSegment {
  startMs: number;
  parts: number;
  programDateTimeMs: number;
  isDiscontinuity: boolean;
}

export interface PartContent {
  /** On the media timeline. */
  startMs: number;
  endMs: number;
  /** Wall-clock time of the part's first picture or sample. */
  programDateTimeMs: number;
  isIndependent: boolean;
  videoFrames: number;
  runs: readonly TrackRun[];
}

/** Numbers segments and parts, writes their bytes and keeps the outputs until they are taken. */
export class SegmentWriter {
  readonly #pacing: PartPacing;
  #outputs: SegmentOutput[] = [];
  #segment: OpenSegment | undefined;
  readonly #firstMsn: number;
  #msn: number;
  #initId: number;
  #endMs = 0;
  #fragments = 0;
  #isDiscontinuity = false;

  constructor(options: { pacing: PartPacing; firstMsn: number; firstInitId: number; continuesEarlier: boolean }) {
    this.#pacing = options.pacing;
    this.#firstMsn = this.#msn = options.firstMsn;
    this.#initId = options.firstInitId - 1;
    this.#isDiscontinuity = options.continuesEarlier;
  }

  take(): SegmentOutput[] {
    const outputs = this.#outputs;
    this.#outputs = [];
    return outputs;
  }

  /** Whether the segment being written, or else the next one, is the very first. */
  get isFirst(): boolean {
    return this.#msn === this.#firstMsn;
  }

  /** Duration of the segment being written, up to `endMs`. */
  segmentMs(endMs: number): number {
    return this.#segment === undefined ? 0 : endMs - this.#segment.startMs;
  }

  writeInit(tracks: readonly MediaTrack[], video: VideoTrack | undefined): void {
    this.#outputs.push({
      tag: 'init',
      initId: ++this.#initId,
      data: writeInitSegment(tracks),
      codecs: tracks.map(codecString),
      video: video && { width: video.sps.width, height: video.sps.height },
    });
  }

  writePart({ startMs, endMs, programDateTimeMs, isIndependent, videoFrames, runs }: PartContent): void {
    this.#segment ??= { startMs, parts: 0, programDateTimeMs, isDiscontinuity: this.#isDiscontinuity };
    this.#isDiscontinuity = false;
    const durationMs = endMs - startMs;
    this.#endMs = endMs;
    this.#outputs.push({
      tag: 'part',
      msn: this.#msn,
      index: this.#segment.parts++,
      initId: this.#initId,
      data: writeMediaFragment(++this.#fragments, runs),
      durationMs,
      isIndependent,
      isDiscontinuity: this.#segment.isDiscontinuity,
      programDateTimeMs: this.#segment.programDateTimeMs,
      partTargetMs: this.#pacing.targetMs,
      videoFrames,
    });
  }

  endSegment(): void {
    if (this.#segment === undefined) return;
    this.#outputs.push({ tag: 'segment-end', msn: this.#msn++, durationMs: this.#endMs - this.#segment.startMs });
    this.#segment = undefined;
  }

  /** The media that comes next doesn't continue what was written. */
  interrupt(): void {
    this.endSegment();
    if (this.#endMs > 0) this.#isDiscontinuity = true;
  }

  endStream(): void {
    this.endSegment();
    this.#outputs.push({ tag: 'stream-end' });
  }
}
