import type { Sample, TrackRun } from '@weir/mp4';

import type { AudioQueue } from './audio-queue.js';
import type { TimelineContext } from './timeline.js';

/** The room that EXT-X-TARGETDURATION leaves between the longest segment and rounding up to the next second. */
const ROUNDING_ROOM_MS = 450;
/** A segment may end when it has this fraction of its intended duration. */
const LEAST_OF_SEGMENT = 0.95;

/** All times in ticks. */
export interface Picture {
  dts: number;
  pts: number;
  isKeyFrame: boolean;
  nalUnits: readonly Uint8Array[];
}

export interface PartCutterOptions {
  context: TimelineContext;
  timescale: number;
  audio: AudioQueue | undefined;
  /** The wall-clock time of a media time. */
  dateMsOf(presentationMs: number): number;
}

/**
 * Cuts consecutive pictures into parts as long as the pacing says, and the parts into segments. Audio goes into the
 * part whose pictures it belongs to. All times are in ticks.
 */
export class PartCutter {
  readonly #options: PartCutterOptions;
  /** Pictures with their ends, which wait for their part until the frame duration is known. */
  #unpaced: { picture: Picture; end: number }[] = [];
  #samples: Sample[] = [];
  /** Start of the samples that aren't yet written or, if there are none, end of the last written sample. */
  #samplesStart = 0;
  #partStart = 0;
  #composition = 0;
  /** The first segment ended within a GOP, so the second one began there. */
  #isWithinGop = false;

  constructor(options: PartCutterOptions) {
    this.#options = options;
  }

  /** A new coded sequence begins with a key frame. `composition` is its presentation time minus its decoding time. */
  begin(dts: number, composition: number): void {
    this.#options.context.pacing.relearn();
    this.#isWithinGop = false;
    this.#composition = composition;
    this.#partStart = dts;
  }

  /** Must follow `writeRest`: the pictures continue from this time. */
  resume(dts: number): void {
    this.#partStart = dts;
  }

  /** Adds a complete picture, which lasts until `end`. */
  append(picture: Picture, end: number): void {
    const { pacing } = this.#options.context;
    pacing.learn(this.#ms(end - picture.dts));
    this.#unpaced.push({ picture, end });
    if (pacing.dueMs !== undefined) this.#pace();
  }

  /** A key frame comes at `dts`. A segment ends before it if it is long enough or if it began within a GOP. */
  endSegmentBeforeKeyFrame(dts: number): void {
    const { context } = this.#options;
    if (!this.#isWithinGop && this.#segmentMs(dts) < context.segmentMs * LEAST_OF_SEGMENT) return;
    this.writeRest(dts);
    context.writer.endSegment();
    this.#isWithinGop = false;
  }

  writeRest(end: number): void {
    this.#options.context.pacing.settle();
    this.#pace();
    if (end > this.#partStart) this.#writePart(end);
  }

  /** Duration of the open segment, including the part that isn't yet written. */
  #segmentMs(end: number): number {
    const startTicks = this.#unpaced[0]?.picture.dts ?? this.#partStart;
    return Math.max(this.#options.context.writer.segmentMs(this.#ms(end)), this.#ms(end - startTicks));
  }

  #isFirstLongEnough(end: number): boolean {
    const { writer, firstSegmentMs } = this.#options.context;
    if (firstSegmentMs === undefined || !writer.isFirst) return false;
    return writer.segmentMs(this.#ms(end)) >= firstSegmentMs * LEAST_OF_SEGMENT;
  }

  #isSegmentFull(end: number): boolean {
    const { writer, maxSegmentMs } = this.#options.context;
    return writer.segmentMs(this.#ms(end)) > maxSegmentMs + ROUNDING_ROOM_MS;
  }

  #pace(): void {
    for (const { picture, end } of this.#unpaced.splice(0)) this.#addToParts(picture, end);
  }

  #addToParts(picture: Picture, end: number): void {
    const { pacing, writer } = this.#options.context;
    const partMs = (until: number) => this.#ms(until - this.#partStart);
    if (this.#isSegmentFull(end) && picture.dts > this.#partStart) {
      this.#writePart(picture.dts);
      writer.endSegment();
    } else if (this.#isSegmentFull(end)) writer.endSegment();
    else if (this.#samples.length > 0 && pacing.endsEarlier(partMs(end), partMs(picture.dts))) {
      this.#writePart(picture.dts);
    }
    this.#addSample(picture, end - picture.dts);
    // A slow picture: players don't accept a part longer than the target, so the rest of it gets parts of its own.
    while (pacing.isTooLong(partMs(end))) {
      this.#writePart(this.#partStart + Math.round((pacing.dueMs! * this.#options.timescale) / 1000));
    }
    if (!pacing.isDue(partMs(end))) return;
    this.#writePart(end);
    if (this.#isFirstLongEnough(end)) {
      writer.endSegment();
      this.#isWithinGop = true;
    } else if (this.#isSegmentFull(end + (pacing.targetMs * this.#options.timescale) / 1000)) writer.endSegment();
  }

  #addSample({ dts, pts, isKeyFrame, nalUnits }: Picture, duration: number): void {
    if (this.#samples.length === 0) this.#samplesStart = dts;
    this.#samples.push({
      durationTicks: duration,
      compositionOffsetTicks: pts - dts,
      isSync: isKeyFrame,
      bytes: nalUnits.reduce((sum, nalUnit) => sum + 4 + nalUnit.length, 0),
      chunks: nalUnits,
      hasNalLengths: true,
    });
  }

  #writePart(end: number): void {
    const { context, audio, dateMsOf } = this.#options;
    const samples = this.#samples;
    this.#samples = [];
    const runs: TrackRun[] = [{ trackId: 1, decodeTimeTicks: this.#samplesStart, samples }];
    this.#samplesStart += samples.reduce((sum, sample) => sum + sample.durationTicks, 0);
    const heard = audio?.takeUntil(this.#ms(end + this.#composition));
    if (heard !== undefined && heard.samples.length > 0) runs.push({ trackId: audio!.track.trackId, ...heard });
    context.writer.writePart({
      startMs: this.#ms(this.#partStart),
      endMs: this.#ms(end),
      programDateTimeMs: dateMsOf(this.#ms(this.#partStart + this.#composition)),
      isIndependent: samples.some((sample) => sample.isSync),
      videoFrames: samples.length,
      runs,
    });
    this.#partStart = end;
  }

  #ms(ticks: number): number {
    return (ticks * 1000) / this.#options.timescale;
  }
}
