import {
  type AudioFrame,
  DecodeTimes,
  type NalFrame,
  parseH264Sps,
  parseH265Sps,
  type ParameterSets,
  TimestampSteps,
  type VideoFrame,
} from '@weir/frames';

import type { AudioQueue } from './audio-queue.js';
import type { Sample, TrackRun } from './media-fragment.js';
import type { VideoTrack } from './media-track.js';
import { PictureClock } from './picture-clock.js';
import type { FrameTime, TimelineContext } from './timeline.js';

/** Room on the media timeline below the first picture for decoding times before its presentation. */
const TIMELINE_START_MS = 10_000;
/** Without pictures for so long, and for so many times as long as between those before, it is a hole and no slow source. */
const LEAST_HOLE_MS = 1_000;
const HOLE_OF_GAP = 3;
/** A change of the wall clock's placing that no drift makes between two pictures. */
const JOLT_MS = 150;
/** One so large must last before it is believed, for longer than the source's clock needs to settle after a step. */
const MAX_JOLT_MS = 700;
const JOLT_PATIENCE_MS = 6_000;
/** A change of the dates that is told by a discontinuity. */
const MAX_DATE_STEP_MS = 1_000;
/** How far a picture may lie before one that was decoded earlier, where the stream doesn't say that none does. */
const MAX_REORDER_MS = 1_000;
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
  clock: PictureClock;
  decodeTimes: DecodeTimes;
  /** Presentation less decoding time of its first picture. */
  composition: number;
  highestRtpTimestamp: number;
  /** The newest picture: its duration is known when the next one comes. Undefined while the source is silent. */
  held: Picture | undefined;
  /** Pictures whose part waits until the frame duration is known, with their ends. */
  unpaced: { picture: Picture; end: number }[];
  lastDuration: number;
  /** Where the pictures written or held end, but for the held one's duration. */
  edge: number;
  partStart: number;
  /** How far the wall clock's placing of the pictures is ahead of the timeline … */
  aheadMs: number;
  /** … how far it may be without being drift … */
  settledMs: number;
  /** … and how much of it the dates don't show yet, because only a discontinuity may tell it. */
  untoldMs: number;
  joltedSinceMs: number | undefined;
}

interface TimedFrame {
  frame: NalFrame;
  time: FrameTime;
}

/**
 * Parts and segments of a stream with video; the audio, if there is any, is put into the parts of the video.
 *
 * The rules of its time:
 * - Pictures follow each other as their timestamps say, and a clock that runs away is followed: see `PictureClock`.
 * - A timestamp that doesn't fit is a single wild claim until the next one agrees with it; see `TimestampSteps`. A claim's
 *   picture is shown between its neighbours. After a step the pictures go on where they were.
 * - Time without pictures takes no room, so that the decoder goes on within the GOP and players stay as close as they
 *   were. The next key frame tells it, and a large step, by one discontinuity, which puts the timeline right again.
 * - What the wall clock says is for the dates; it never breaks the timeline.
 */
export class VideoTimeline {
  readonly #context: TimelineContext;
  readonly #codec: 'H264' | 'H265';
  readonly #timescale: number;
  readonly #audio: AudioQueue | undefined;
  readonly #steps = new TimestampSteps();
  #originMs: number | undefined;
  #epoch: Epoch | undefined;
  /** Where the last epoch ended. */
  #end = 0;
  #needsKeyFrame = true;
  /** The first segment ended within a GOP, in which the second began. */
  #isWithinGop = false;
  /** Pictures were left out since the last one taken. */
  #hasDropped = false;
  /** The next key frame begins after a discontinuity. */
  #isBreakDue = false;
  #parameterSets: ParameterSets | undefined;
  #samples: Sample[] = [];
  /** Where the samples not yet written begin; without any, where the last one written ends. */
  #samplesStart = 0;
  #lastNowMs = 0;
  /** A picture whose timestamp doesn't fit, until the next one tells what to make of it. */
  #stray: TimedFrame | undefined;
  /** The last picture's, by the source's own timestamps and by those without steps. */
  #lastTimestamp: { source: number; steady: number } | undefined;
  #lastArrivalMs = 0;
  /** Between the last two pictures, with what was left out. */
  #lastGapMs = 0;
  /** How much sound has come since the last picture. */
  #soundMs = 0;

  constructor(context: TimelineContext, video: { codec: 'H264' | 'H265'; clockRate: number }, audio?: AudioQueue) {
    this.#context = context;
    this.#codec = video.codec;
    this.#timescale = video.clockRate;
    this.#audio = audio;
  }

  pushVideo(frame: VideoFrame, time: FrameTime): void {
    if (frame.codec !== this.#codec || !('nalUnits' in frame)) return;
    this.advance(time.nowMs);
    const stray = this.#stray;
    this.#stray = undefined;
    const timed = { frame, time };
    const sourceMs = this.#ms(frame.rtpTimestamp);
    const beginsAnew = frame.isKeyFrame && frame.complete && frame.parameterSets !== this.#parameterSets;
    const step = this.#steps.judge(sourceMs, time.nowMs, this.#maxReorderMs);
    switch (step) {
      case 'follows':
        if (stray !== undefined) this.#takeBetween(stray, this.#steady(frame));
        this.#takeAt(this.#steady(frame), timed);
        return;
      case 'stray':
        if (stray !== undefined) this.#takeNext(stray);
        if (beginsAnew) {
          this.#steps.restart(sourceMs, time.nowMs);
          this.#takeNext(timed);
        } else this.#stray = timed;
        return;
      case 'stepped':
        this.#step(stray, timed);
        return;
      default:
        step satisfies never;
    }
  }

  pushAudio(frame: AudioFrame, { wallClockMs, nowMs }: FrameTime): void {
    this.advance(nowMs);
    const epoch = this.#epoch;
    if (epoch?.held === undefined || frame.codec !== this.#audio?.track.codec) return;
    this.#soundMs += (frame.durationTicks * 1000) / this.#audio.track.timescale;
    const mediaMs = wallClockMs - this.#originMs! - epoch.aheadMs;
    this.#audio.push(frame, mediaMs, this.#ms(epoch.held.dts + epoch.composition));
  }

  advance(nowMs: number): void {
    if (this.#epoch?.held !== undefined && nowMs - this.#lastNowMs > this.#context.maxSegmentMs) this.#pause();
  }

  interrupt(): void {
    const stray = this.#stray;
    this.#stray = undefined;
    if (stray !== undefined) this.#takeNext(stray);
    if (this.#epoch === undefined) return;
    this.#finish(this.#epoch);
    this.#epoch = undefined;
    this.#context.writer.interrupt();
  }

  /** In the time of the source's timestamps as they were before they stepped. */
  #steady({ rtpTimestamp }: NalFrame): number {
    const last = this.#lastTimestamp;
    return last === undefined ? rtpTimestamp : rtpTimestamp - last.source + last.steady;
  }

  #takeAt(steady: number, { frame, time }: TimedFrame): void {
    this.#lastTimestamp = { source: frame.rtpTimestamp, steady };
    this.#lastArrivalMs = time.nowMs;
    this.#take({ ...frame, rtpTimestamp: steady }, time);
  }

  /** Only the picture's place is made up: the timestamps go on from the one before. */
  #takeBetween({ frame, time }: TimedFrame, nextSteady: number): void {
    const last = this.#lastTimestamp;
    const before = last?.steady ?? nextSteady;
    const rtpTimestamp = nextSteady > before + 1 ? Math.round((before + nextSteady) / 2) : before + 1;
    this.#take({ ...frame, rtpTimestamp }, time);
  }

  /** The picture follows the one before as it came, whatever its timestamp says; later ones go on from it. */
  #takeNext(timed: TimedFrame): void {
    const gapMs = Math.max(0, timed.time.nowMs - this.#lastArrivalMs);
    const usual = this.#epoch?.lastDuration ?? 0;
    // The time of arrival is jittery, and counts only where there was a pause.
    const gap = this.#ms(usual) * 2 > gapMs ? usual : (gapMs * this.#timescale) / 1000;
    this.#takeAt((this.#lastTimestamp?.steady ?? timed.frame.rtpTimestamp) + Math.round(gap), timed);
  }

  /** Two pictures agree that the timestamps go on from elsewhere. */
  #step(first: TimedFrame | undefined, second: TimedFrame): void {
    const from = this.#lastTimestamp?.source ?? 0;
    const stepMs = Math.abs(this.#ms((first ?? second).frame.rtpTimestamp - from));
    // So much is rather another source than a clock that was set.
    if (stepMs > this.#context.maxSegmentMs) this.#isBreakDue = true;
    const beginsWithSecond = this.#isBreakDue && second.frame.isKeyFrame && first?.frame.isKeyFrame !== true;
    if (first !== undefined && !beginsWithSecond) {
      this.#takeNext(first);
      this.#takeAt(this.#steady(second.frame), second);
    } else this.#takeNext(second);
  }

  get #maxReorderMs(): number {
    return this.#epoch?.track.sps.reorderFrames === 0 ? 0 : MAX_REORDER_MS;
  }

  #take(frame: NalFrame, { wallClockMs, nowMs }: FrameTime): void {
    const track = frame.isKeyFrame ? this.#trackOf(frame) : undefined;
    if (track !== undefined) this.#needsKeyFrame = false;
    else if (!frame.complete || frame.isKeyFrame) this.#needsKeyFrame = true;
    if (this.#needsKeyFrame || (this.#epoch === undefined && track === undefined)) {
      this.#hasDropped = true;
      return;
    }
    this.#lastNowMs = nowMs;
    let gapMs = 0;
    if (this.#epoch !== undefined) {
      gapMs = this.#ms(frame.rtpTimestamp - this.#epoch.highestRtpTimestamp);
      if (this.#isHole(this.#epoch, frame)) this.#isBreakDue = true;
      if (frame.isKeyFrame && this.#isBreak(this.#epoch, frame)) this.interrupt();
    }
    this.#hasDropped = false;
    const epoch = this.#epoch;
    if (track === undefined) this.#continue(epoch!, frame, wallClockMs, nowMs);
    else if (epoch === undefined) this.#begin(track, frame, wallClockMs);
    else if (frame.parameterSets !== this.#parameterSets) this.#changeParameters(epoch, track, frame, wallClockMs);
    else this.#continue(epoch, frame, wallClockMs, nowMs);
    if (gapMs > 0) this.#lastGapMs = gapMs;
    this.#soundMs = 0;
  }

  /** The source is silent: what there is of it is finished, and when it comes back it goes on in its GOP. */
  #pause(): void {
    const epoch = this.#epoch!;
    this.#finish(epoch);
    this.#isBreakDue = true;
    this.#context.writer.endSegment();
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

  /** Did neither pictures nor sound come for a time that can't be taken for the source's pace? */
  #isHole(epoch: Epoch, frame: NalFrame): boolean {
    if (epoch.held === undefined) return true;
    const gapMs = this.#ms(frame.rtpTimestamp - epoch.highestRtpTimestamp);
    if (gapMs > this.#context.maxSegmentMs) return true;
    if (gapMs <= Math.max(LEAST_HOLE_MS, HOLE_OF_GAP * this.#lastGapMs)) return false;
    return this.#soundMs < gapMs / 2;
  }

  #isBreak(epoch: Epoch, frame: NalFrame): boolean {
    if (this.#isBreakDue || epoch.clock.ptsOf(frame.rtpTimestamp) <= epoch.edge) return true;
    const gapMs = this.#ms(frame.rtpTimestamp - epoch.highestRtpTimestamp);
    return (frame.lost || this.#hasDropped) && gapMs > 2 * this.#context.pacing.targetMs;
  }

  #begin(track: VideoTrack, frame: NalFrame, wallClockMs: number): void {
    this.#originMs ??= wallClockMs - TIMELINE_START_MS;
    const pts = Math.round(((wallClockMs - this.#originMs) * this.#timescale) / 1000);
    this.#open(track, frame, wallClockMs, pts);
    this.#audio?.restart(this.#ms(this.#epoch!.held!.pts));
  }

  /** New parameter sets with a key frame: the time goes on, the decoder begins anew. */
  #changeParameters(epoch: Epoch, track: VideoTrack, frame: NalFrame, wallClockMs: number): void {
    const pts = epoch.clock.ptsOf(frame.rtpTimestamp);
    const start = pts - epoch.composition;
    this.#finish(epoch, start);
    this.#context.writer.interrupt();
    this.#open(track, frame, wallClockMs, pts);
  }

  #open(track: VideoTrack, frame: NalFrame, wallClockMs: number, wantedPts: number): void {
    if (frame.parameterSets !== this.#parameterSets) {
      const tracks = this.#audio === undefined ? [track] : [track, this.#audio.track];
      this.#context.writer.writeInit(tracks, track);
      this.#parameterSets = frame.parameterSets;
    }
    this.#isWithinGop = false;
    this.#isBreakDue = false;
    this.#context.pacing.relearn();
    const frameTicks = Math.round(this.#timescale / (frameRateOf(track) ?? 30));
    const composition = (track.sps.reorderFrames ?? 0) * frameTicks;
    const pts = Math.max(wantedPts, this.#end + composition);
    const decodeTimes = new DecodeTimes({ reorderFrames: track.sps.reorderFrames ?? 0, frameTicks });
    const dts = decodeTimes.push(pts);
    const aheadMs = wallClockMs - this.#originMs! - this.#ms(pts);
    this.#epoch = {
      track,
      clock: new PictureClock(this.#timescale, frame.rtpTimestamp, pts),
      decodeTimes,
      composition: pts - dts,
      highestRtpTimestamp: frame.rtpTimestamp,
      held: { dts, pts, isKeyFrame: true, nalUnits: frame.nalUnits },
      unpaced: [],
      lastDuration: frameTicks,
      edge: dts,
      partStart: dts,
      aheadMs,
      settledMs: aheadMs,
      untoldMs: 0,
      joltedSinceMs: undefined,
    };
  }

  #continue(epoch: Epoch, frame: NalFrame, wallClockMs: number, nowMs: number): void {
    this.#closeHole(epoch, frame);
    const pts = epoch.clock.ptsOf(frame.rtpTimestamp);
    const dts = epoch.decodeTimes.push(pts);
    this.#followWallClock(epoch, wallClockMs - this.#originMs! - this.#ms(pts), nowMs);
    epoch.highestRtpTimestamp = Math.max(epoch.highestRtpTimestamp, frame.rtpTimestamp);
    if (frame.rtpTimestamp === epoch.highestRtpTimestamp) {
      epoch.clock.steer(frame.rtpTimestamp, epoch.aheadMs - epoch.settledMs);
    }
    if (epoch.held === undefined) {
      epoch.partStart = dts;
      this.#audio?.restart(this.#ms(pts));
    } else {
      epoch.lastDuration = dts - epoch.held.dts;
      this.#append(epoch, epoch.held, dts);
    }
    epoch.held = { dts, pts, isKeyFrame: frame.isKeyFrame, nalUnits: frame.nalUnits };
    epoch.edge = dts;
    if (frame.isKeyFrame && (this.#isWithinGop || this.#segmentMs(epoch, dts) >= this.#context.segmentMs * 0.95)) {
      this.#endSegment(epoch, dts);
      this.#isWithinGop = false;
    }
  }

  /** The time in which nothing came takes no room. */
  #closeHole(epoch: Epoch, frame: NalFrame): void {
    if (!this.#isHole(epoch, frame)) return;
    const gap = frame.rtpTimestamp - epoch.highestRtpTimestamp;
    const hole = Math.max(0, gap - epoch.lastDuration);
    epoch.clock.skip(hole);
    epoch.aheadMs += this.#ms(hole);
    epoch.settledMs += this.#ms(hole);
    epoch.untoldMs += this.#ms(hole);
    this.#audio?.cutAfter(this.#ms(epoch.edge + epoch.composition));
  }

  #followWallClock(epoch: Epoch, aheadMs: number, nowMs: number): void {
    const changeMs = aheadMs - epoch.aheadMs;
    if (Math.abs(changeMs) > MAX_JOLT_MS) {
      epoch.joltedSinceMs ??= nowMs;
      if (nowMs - epoch.joltedSinceMs < JOLT_PATIENCE_MS) return;
      if (Math.abs(changeMs) > MAX_DATE_STEP_MS) {
        epoch.untoldMs += changeMs;
        this.#isBreakDue = true;
      }
    }
    epoch.joltedSinceMs = undefined;
    if (Math.abs(changeMs) > JOLT_MS) epoch.settledMs += changeMs;
    epoch.aheadMs = aheadMs;
  }

  /** Of the open segment with the part not yet written. */
  #segmentMs(epoch: Epoch, end: number): number {
    const startTicks = epoch.unpaced[0]?.picture.dts ?? epoch.partStart;
    return Math.max(this.#context.writer.segmentMs(this.#ms(end)), this.#ms(end - startTicks));
  }

  #isFirstLongEnough(end: number): boolean {
    const { writer, firstSegmentMs } = this.#context;
    return firstSegmentMs !== undefined && writer.isFirst && writer.segmentMs(this.#ms(end)) >= firstSegmentMs * 0.95;
  }

  #isSegmentFull(end: number): boolean {
    return this.#context.writer.segmentMs(this.#ms(end)) > this.#context.maxSegmentMs + ROUNDING_ROOM_MS;
  }

  #finish(epoch: Epoch, start?: number): void {
    const { held } = epoch;
    if (held === undefined) return;
    const end = start !== undefined && start > held.dts ? start : held.dts + epoch.lastDuration;
    this.#append(epoch, held, end);
    this.#writeRest(epoch, end);
    epoch.held = undefined;
    epoch.edge = end;
    this.#end = end;
  }

  #endSegment(epoch: Epoch, end: number): void {
    this.#writeRest(epoch, end);
    this.#context.writer.endSegment();
  }

  /** The picture is complete and lasts until `end`. */
  #append(epoch: Epoch, picture: Picture, end: number): void {
    const { pacing } = this.#context;
    pacing.learn(this.#ms(end - picture.dts));
    epoch.unpaced.push({ picture, end });
    if (pacing.dueMs !== undefined) this.#pace(epoch);
  }

  #writeRest(epoch: Epoch, end: number): void {
    this.#context.pacing.settle();
    this.#pace(epoch);
    if (end > epoch.partStart) this.#writePart(epoch, end);
  }

  #pace(epoch: Epoch): void {
    for (const { picture, end } of epoch.unpaced.splice(0)) this.#addToParts(epoch, picture, end);
  }

  #addToParts(epoch: Epoch, picture: Picture, end: number): void {
    const { pacing, writer } = this.#context;
    const partMs = (until: number) => this.#ms(until - epoch.partStart);
    if (this.#isSegmentFull(end) && picture.dts > epoch.partStart) {
      this.#writePart(epoch, picture.dts);
      writer.endSegment();
    } else if (this.#isSegmentFull(end)) writer.endSegment();
    else if (this.#samples.length > 0 && pacing.endsEarlier(partMs(end), partMs(picture.dts))) {
      this.#writePart(epoch, picture.dts);
    }
    this.#addSample(picture, end - picture.dts);
    // A slow picture: players take no part beyond the target, and what remains of it is in parts of their own.
    while (pacing.isTooLong(partMs(end))) {
      this.#writePart(epoch, epoch.partStart + Math.round((pacing.dueMs! * this.#timescale) / 1000));
    }
    if (!pacing.isDue(partMs(end))) return;
    this.#writePart(epoch, end);
    if (this.#isFirstLongEnough(end)) {
      writer.endSegment();
      this.#isWithinGop = true;
    } else if (this.#isSegmentFull(end + (pacing.targetMs * this.#timescale) / 1000)) writer.endSegment();
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

  #writePart(epoch: Epoch, end: number): void {
    const samples = this.#samples;
    this.#samples = [];
    const runs: TrackRun[] = [{ trackId: 1, decodeTimeTicks: this.#samplesStart, samples }];
    this.#samplesStart += samples.reduce((sum, sample) => sum + sample.durationTicks, 0);
    const audio = this.#audio?.takeUntil(this.#ms(end + epoch.composition));
    if (audio !== undefined && audio.samples.length > 0) runs.push({ trackId: this.#audio!.track.trackId, ...audio });
    this.#context.writer.writePart({
      startMs: this.#ms(epoch.partStart),
      endMs: this.#ms(end),
      programDateTimeMs:
        this.#originMs! + this.#ms(epoch.partStart + epoch.composition) + epoch.aheadMs - epoch.untoldMs,
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
