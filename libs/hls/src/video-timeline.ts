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
import type { VideoTrack } from './media-track.js';
import { PartCutter, type Picture } from './part-cutter.js';
import { PictureClock } from './picture-clock.js';
import type { FrameTime, TimelineContext } from './timeline.js';

/** Room on the media timeline below the first picture for decoding times before its presentation. */
const TIMELINE_START_MS = 10_000;
/** A hole, as opposed to a slow source: no pictures for this long, and for this many times the gap before. */
const LEAST_HOLE_MS = 1_000;
const HOLE_OF_GAP = 3;
/** A change of a picture's wall-clock time, against the timeline, that is too large for drift. */
const JOLT_MS = 150;
/** A larger one is believed only when it lasts: the source's clock needs some seconds to settle after a step. */
const MAX_JOLT_MS = 700;
const JOLT_PATIENCE_MS = 6_000;
/** The dates of the playlist change by more than this only with a discontinuity. */
const MAX_DATE_STEP_MS = 1_000;
/** How far a picture may lie before one that was decoded earlier, where the stream doesn't say that none does. */
const MAX_REORDER_MS = 1_000;

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
  lastDuration: number;
  /** Where the pictures written or held end, but for the held one's duration. */
  edge: number;
  /** How far the pictures' wall-clock time is ahead of the timeline … */
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
  readonly #cutter: PartCutter;
  readonly #steps = new TimestampSteps();
  #originMs: number | undefined;
  #epoch: Epoch | undefined;
  /** Where the last epoch ended. */
  #end = 0;
  #needsKeyFrame = true;
  /** Pictures were left out since the last one taken. */
  #hasDropped = false;
  /** The next key frame begins after a discontinuity. */
  #isBreakDue = false;
  #parameterSets: ParameterSets | undefined;
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
    this.#cutter = new PartCutter({
      ...{ context, timescale: video.clockRate, audio },
      dateMsOf: (presentationMs) => {
        const { aheadMs, untoldMs } = this.#epoch!;
        return this.#originMs! + presentationMs + aheadMs - untoldMs;
      },
    });
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

  /** The picture is placed behind the one before by its arrival, whatever its timestamp says; later ones go on from it. */
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
    // A step this large is more likely another source than a clock that was set.
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
    this.#isBreakDue = false;
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
      lastDuration: frameTicks,
      edge: dts,
      aheadMs,
      settledMs: aheadMs,
      untoldMs: 0,
      joltedSinceMs: undefined,
    };
    this.#cutter.begin(dts, pts - dts);
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
      this.#cutter.resume(dts);
      this.#audio?.restart(this.#ms(pts));
    } else {
      epoch.lastDuration = dts - epoch.held.dts;
      this.#cutter.append(epoch.held, dts);
    }
    epoch.held = { dts, pts, isKeyFrame: frame.isKeyFrame, nalUnits: frame.nalUnits };
    epoch.edge = dts;
    if (frame.isKeyFrame) this.#cutter.endSegmentBeforeKeyFrame(dts);
  }

  /** The time in which nothing came takes no room on the timeline. */
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

  #finish(epoch: Epoch, start?: number): void {
    const { held } = epoch;
    if (held === undefined) return;
    const end = start !== undefined && start > held.dts ? start : held.dts + epoch.lastDuration;
    this.#cutter.append(held, end);
    this.#cutter.writeRest(end);
    epoch.held = undefined;
    epoch.edge = end;
    this.#end = end;
  }

  #ms(ticks: number): number {
    return (ticks * 1000) / this.#timescale;
  }
}

const frameRateOf = (track: VideoTrack) => (track.codec === 'H264' ? track.sps.frameRate : undefined);
