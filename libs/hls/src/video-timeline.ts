import {
  type AudioFrame,
  DecodeTimes,
  type NalFrame,
  parseH264Sps,
  parseH265Sps,
  type ParameterSets,
  type VideoFrame,
} from '@weir/frames';

import type { AudioQueue } from './audio-queue.js';
import type { Sample, TrackRun } from './media-fragment.js';
import type { VideoTrack } from './media-track.js';
import type { FrameTime, TimelineContext } from './timeline.js';

/** Room on the media timeline below the first picture for decoding times before its presentation. */
const TIMELINE_START_MS = 10_000;
/** A source's clock may run away from ours so far before its place on the timeline is taken anew. */
const MAX_DRIFT_MS = 1_000;
const MAX_STEP_BACK_MS = 1_000;
/** What EXT-X-TARGETDURATION leaves between a segment of the longest duration and the rounding to the next second. */
const ROUNDING_ROOM_MS = 450;

interface Picture {
  dts: number;
  pts: number;
  isKeyFrame: boolean;
  nalUnits: readonly Uint8Array[];
}

/** A stretch of video that is one coded sequence: times and parameters go on without a break. All times in ticks. */
interface Epoch {
  track: VideoTrack;
  /** RTP timestamp to media time. */
  offset: number;
  decodeTimes: DecodeTimes;
  /** Presentation less decoding time of its first picture. */
  composition: number;
  highestRtpTimestamp: number;
  /** The newest picture: its duration is known when the next one comes. */
  held: Picture;
  lastDuration: number;
  partStart: number;
  /** How far the wall clock's placing of the pictures is ahead of the timeline. */
  driftMs: number;
}

/** Parts and segments of a stream with video; the audio, if there is any, is put into the parts of the video. */
export class VideoTimeline {
  readonly #context: TimelineContext;
  readonly #codec: 'H264' | 'H265';
  readonly #timescale: number;
  readonly #audio: AudioQueue | undefined;
  #originMs: number | undefined;
  #epoch: Epoch | undefined;
  /** Where the last epoch ended. */
  #end = 0;
  #needsKeyFrame = true;
  /** The first segment ended within a GOP, in which the second began. */
  #isWithinGop = false;
  /** Pictures were left out since the last one taken. */
  #hasDropped = false;
  #parameterSets: ParameterSets | undefined;
  #samples: Sample[] = [];
  #lastNowMs = 0;

  constructor(context: TimelineContext, video: { codec: 'H264' | 'H265'; clockRate: number }, audio?: AudioQueue) {
    this.#context = context;
    this.#codec = video.codec;
    this.#timescale = video.clockRate;
    this.#audio = audio;
  }

  pushVideo(frame: VideoFrame, { wallClockMs, nowMs }: FrameTime): void {
    if (frame.codec !== this.#codec || !('nalUnits' in frame)) return;
    this.advance(nowMs);
    const track = frame.isKeyFrame ? this.#trackOf(frame) : undefined;
    if (track !== undefined) this.#needsKeyFrame = false;
    else if (!frame.complete || frame.isKeyFrame) this.#needsKeyFrame = true;
    if (this.#needsKeyFrame || (this.#epoch === undefined && track === undefined)) {
      this.#hasDropped = true;
      return;
    }
    this.#lastNowMs = nowMs;
    if (this.#epoch !== undefined && this.#isBreak(this.#epoch, frame)) {
      this.interrupt();
      if (track === undefined) {
        this.#needsKeyFrame = true;
        return;
      }
    }
    this.#hasDropped = false;
    const epoch = this.#epoch;
    if (track === undefined) this.#continue(epoch!, frame, wallClockMs);
    else if (epoch === undefined) this.#begin(track, frame, wallClockMs);
    else if (frame.parameterSets !== this.#parameterSets) this.#changeParameters(epoch, track, frame, wallClockMs);
    else this.#continue(epoch, frame, wallClockMs);
  }

  pushAudio(frame: AudioFrame, { wallClockMs, nowMs }: FrameTime): void {
    this.advance(nowMs);
    const epoch = this.#epoch;
    if (epoch === undefined || frame.codec !== this.#audio?.track.codec) return;
    const mediaMs = wallClockMs - this.#originMs! - epoch.driftMs;
    this.#audio.push(frame, mediaMs, this.#ms(epoch.held.dts + epoch.composition));
  }

  advance(nowMs: number): void {
    if (this.#epoch !== undefined && nowMs - this.#lastNowMs > this.#context.maxSegmentMs) this.interrupt();
  }

  interrupt(): void {
    const epoch = this.#epoch;
    if (epoch === undefined) return;
    this.#finish(epoch, epoch.held.dts + epoch.lastDuration);
    this.#epoch = undefined;
    this.#context.writer.interrupt();
  }

  #trackOf(frame: NalFrame): VideoTrack | undefined {
    const { parameterSets } = frame;
    const nalUnit = parameterSets?.sps[0];
    if (parameterSets === undefined || nalUnit === undefined) return undefined;
    const base = { trackId: 1, timescale: this.#timescale, parameterSets };
    if (this.#codec === 'H264') {
      const sps = parseH264Sps(nalUnit);
      return sps && { ...base, codec: 'H264', sps };
    }
    const sps = parseH265Sps(nalUnit);
    return sps && { ...base, codec: 'H265', sps };
  }

  /** Does the frame's time not follow from what came before, or only after so much that a jump is better than a still? */
  #isBreak(epoch: Epoch, frame: NalFrame): boolean {
    const gapMs = this.#ms(frame.rtpTimestamp - epoch.highestRtpTimestamp);
    if (gapMs > this.#context.maxSegmentMs || gapMs < -MAX_STEP_BACK_MS) return true;
    if (!frame.isKeyFrame) return false;
    if (frame.rtpTimestamp + epoch.offset <= epoch.held.dts || Math.abs(epoch.driftMs) > MAX_DRIFT_MS) return true;
    return (frame.lost || this.#hasDropped) && gapMs > 2 * this.#context.pacing.targetMs;
  }

  #begin(track: VideoTrack, frame: NalFrame, wallClockMs: number): void {
    this.#originMs ??= wallClockMs - TIMELINE_START_MS;
    const pts = Math.round(((wallClockMs - this.#originMs) * this.#timescale) / 1000);
    this.#open(track, frame, wallClockMs, pts - frame.rtpTimestamp);
    this.#audio?.restart(this.#ms(this.#epoch!.held.pts));
  }

  /** New parameter sets with a key frame: the time goes on, the decoder begins anew. */
  #changeParameters(epoch: Epoch, track: VideoTrack, frame: NalFrame, wallClockMs: number): void {
    const start = frame.rtpTimestamp + epoch.offset - epoch.composition;
    this.#finish(epoch, start > epoch.held.dts ? start : epoch.held.dts + epoch.lastDuration);
    this.#context.writer.interrupt();
    this.#open(track, frame, wallClockMs, epoch.offset);
  }

  #open(track: VideoTrack, frame: NalFrame, wallClockMs: number, offset: number): void {
    if (frame.parameterSets !== this.#parameterSets) {
      const tracks = this.#audio === undefined ? [track] : [track, this.#audio.track];
      this.#context.writer.writeInit(tracks, track);
      this.#parameterSets = frame.parameterSets;
    }
    this.#isWithinGop = false;
    this.#context.pacing.relearn();
    const frameTicks = Math.round(this.#timescale / (frameRateOf(track) ?? 30));
    const composition = (track.sps.reorderFrames ?? 0) * frameTicks;
    const pts = Math.max(frame.rtpTimestamp + offset, this.#end + composition);
    const decodeTimes = new DecodeTimes({ reorderFrames: track.sps.reorderFrames ?? 0, frameTicks });
    const dts = decodeTimes.push(pts);
    this.#epoch = {
      track,
      offset: pts - frame.rtpTimestamp,
      decodeTimes,
      composition: pts - dts,
      highestRtpTimestamp: frame.rtpTimestamp,
      held: { dts, pts, isKeyFrame: true, nalUnits: frame.nalUnits },
      lastDuration: frameTicks,
      partStart: dts,
      driftMs: wallClockMs - this.#originMs! - this.#ms(pts),
    };
  }

  #continue(epoch: Epoch, frame: NalFrame, wallClockMs: number): void {
    const { pacing, writer, segmentMs } = this.#context;
    const pts = frame.rtpTimestamp + epoch.offset;
    const dts = epoch.decodeTimes.push(pts);
    epoch.driftMs = wallClockMs - this.#originMs! - this.#ms(pts);
    epoch.highestRtpTimestamp = Math.max(epoch.highestRtpTimestamp, frame.rtpTimestamp);
    const duration = dts - epoch.held.dts;
    pacing.learn(this.#ms(duration));
    const earlierMs = this.#ms(epoch.held.dts - epoch.partStart);
    if (pacing.endsEarlier(this.#ms(dts - epoch.partStart), earlierMs)) {
      this.#writePart(epoch, epoch.held.dts);
    }
    if (this.#isSegmentFull(dts)) {
      if (this.#samples.length > 0) this.#writePart(epoch, epoch.held.dts);
      writer.endSegment();
    }
    this.#addSample(epoch.held, duration);
    epoch.lastDuration = duration;
    epoch.held = { dts, pts, isKeyFrame: frame.isKeyFrame, nalUnits: frame.nalUnits };
    if (frame.isKeyFrame && (this.#isWithinGop || this.#segmentMs(epoch, dts) >= segmentMs * 0.95)) {
      this.#writePart(epoch, dts);
      writer.endSegment();
      this.#isWithinGop = false;
    } else if (pacing.isDue(this.#ms(dts - epoch.partStart))) {
      this.#writePart(epoch, dts);
      if (this.#isFirstLongEnough(dts)) {
        writer.endSegment();
        this.#isWithinGop = !frame.isKeyFrame;
      } else if (this.#isSegmentFull(dts + (pacing.targetMs * this.#timescale) / 1000)) writer.endSegment();
    }
  }

  /** Of the open segment with the part not yet written. */
  #segmentMs(epoch: Epoch, end: number): number {
    return Math.max(this.#context.writer.segmentMs(this.#ms(end)), this.#ms(end - epoch.partStart));
  }

  #isFirstLongEnough(end: number): boolean {
    const { writer, firstSegmentMs } = this.#context;
    return firstSegmentMs !== undefined && writer.isFirst && writer.segmentMs(this.#ms(end)) >= firstSegmentMs * 0.95;
  }

  #isSegmentFull(end: number): boolean {
    return this.#context.writer.segmentMs(this.#ms(end)) > this.#context.maxSegmentMs + ROUNDING_ROOM_MS;
  }

  #finish(epoch: Epoch, end: number): void {
    this.#addSample(epoch.held, end - epoch.held.dts);
    this.#writePart(epoch, end);
    this.#end = end;
  }

  #addSample({ dts, pts, isKeyFrame, nalUnits }: Picture, duration: number): void {
    this.#samples.push({
      durationTicks: duration,
      compositionOffsetTicks: pts - dts,
      isSync: isKeyFrame,
      bytes: nalUnits.reduce((sum, nalUnit) => sum + 4 + nalUnit.length, 0),
      chunks: nalUnits,
      hasNalLengths: true,
    });
  }

  #writePart(epoch: Epoch, end: number): void {
    const samples = this.#samples;
    this.#samples = [];
    const runs: TrackRun[] = [{ trackId: 1, decodeTimeTicks: epoch.partStart, samples }];
    const audio = this.#audio?.takeUntil(this.#ms(end + epoch.composition));
    if (audio !== undefined && audio.samples.length > 0) runs.push({ trackId: this.#audio!.track.trackId, ...audio });
    this.#context.writer.writePart({
      startMs: this.#ms(epoch.partStart),
      endMs: this.#ms(end),
      programDateTimeMs: this.#originMs! + this.#ms(epoch.partStart + epoch.composition) + epoch.driftMs,
      isIndependent: samples.some((sample) => sample.isSync),
      videoFrames: samples.length,
      runs,
    });
    epoch.partStart = end;
  }

  #ms(ticks: number): number {
    return (ticks * 1000) / this.#timescale;
  }
}

const frameRateOf = (track: VideoTrack) => (track.codec === 'H264' ? track.sps.frameRate : undefined);
