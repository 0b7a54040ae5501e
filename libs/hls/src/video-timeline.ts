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
import type { VideoTrack } from '@weir/mp4';

import type { AudioQueue } from './audio-queue.js';
import { PartCutter, type Picture } from './part-cutter.js';
import { PictureClock } from './picture-clock.js';
import type { FrameTime, TimelineContext } from './timeline.js';

/** Room on the media timeline before the first picture, because decoding times come before presentation times. */
const TIMELINE_START_MS = 10_000;
/** A hole, as opposed to a slow source: no pictures for this long and for this many times the previous gap. */
const LEAST_HOLE_MS = 1_000;
const HOLE_OF_GAP = 3;
/** A larger change of the pictures' wall-clock time against the timeline isn't drift. */
const JOLT_MS = 150;
/**
 * A change larger than this is accepted only if it lasts, because a source's clock needs some seconds to settle after a
 * step.
 */
const MAX_JOLT_MS = 700;
const JOLT_PATIENCE_MS = 6_000;
/** Without a discontinuity, the dates in the playlist never change by more than this. */
const MAX_DATE_STEP_MS = 1_000;
/**
 * By how much a picture may be shown before one that was decoded earlier, unless the stream says that it doesn't
 * reorder.
 */
const MAX_REORDER_MS = 1_000;

/**
 * A stretch of video that is one coded sequence: times and parameters continue without a break. All times are in ticks.
 */
interface Epoch {
  track: VideoTrack;
  clock: PictureClock;
  decodeTimes: DecodeTimes;
  /** Presentation time minus decoding time of its first picture. */
  composition: number;
  highestRtpTimestamp: number;
  /** The newest picture, held until the next one shows its duration. Undefined while the source is silent. */
  held: Picture | undefined;
  lastDuration: number;
  /** Decoding time of the newest picture or, once that is written, its end. */
  edge: number;
  /** How far the pictures' wall-clock time is ahead of the timeline … */
  aheadMs: number;
  /** … which part of that is settled, so that it isn't taken for drift … */
  settledMs: number;
  /** … and which part the dates don't show yet, because that needs a discontinuity. */
  untoldMs: number;
  joltedSinceMs: number | undefined;
}

interface TimedFrame {
  frame: NalFrame;
  time: FrameTime;
}

/**
 * Makes the parts and segments of a stream with video; audio, if any, goes into the parts of the video.
 *
 * The rules for time:
 * - Pictures follow each other as their timestamps say, and a drifting clock is followed; see `PictureClock`.
 * - A timestamp that doesn't fit counts as a single wrong one until the next one agrees with it; see `TimestampSteps`.
 *   Its picture is shown between its neighbours. After a step, the pictures continue where they were.
 * - Time without pictures takes no room on the timeline. The decoder can then continue within the GOP, and players keep
 *   their distance to the live edge. After such a hole, or after a large step, the next key frame follows a
 *   discontinuity, which makes the timeline match the clock again.
 * - The wall clock only sets the dates; it never breaks the timeline.
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
  /** Pictures were dropped since the last one that was used. */
  #hasDropped = false;
  /** A discontinuity comes before the next key frame. */
  #isBreakDue = false;
  #parameterSets: ParameterSets | undefined;
  #lastNowMs = 0;
  /** A picture whose timestamp doesn't fit, held until the next one shows how to treat it. */
  #stray: TimedFrame | undefined;
  /** The last picture's timestamp, as the source sent it and without the source's steps. */
  #lastTimestamp: { source: number; steady: number } | undefined;
  #lastArrivalMs = 0;
  /** Time between the last two pictures, including any hole. */
  #lastGapMs = 0;
  /** How much sound has arrived since the last picture. */
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

  /** The frame's timestamp without the source's steps so far. */
  #steady({ rtpTimestamp }: NalFrame): number {
    const last = this.#lastTimestamp;
    return last === undefined ? rtpTimestamp : rtpTimestamp - last.source + last.steady;
  }

  #takeAt(steady: number, { frame, time }: TimedFrame): void {
    this.#lastTimestamp = { source: frame.rtpTimestamp, steady };
    this.#lastArrivalMs = time.nowMs;
    this.#take({ ...frame, rtpTimestamp: steady }, time);
  }

  /** Invents only this picture's time; the following timestamps continue from the picture before it. */
  #takeBetween({ frame, time }: TimedFrame, nextSteady: number): void {
    const last = this.#lastTimestamp;
    const before = last?.steady ?? nextSteady;
    const rtpTimestamp = nextSteady > before + 1 ? Math.round((before + nextSteady) / 2) : before + 1;
    this.#take({ ...frame, rtpTimestamp }, time);
  }

  /**
   * Places the picture after the previous one by its arrival, whatever its timestamp says. Later pictures continue from
   * it.
   */
  #takeNext(timed: TimedFrame): void {
    const gapMs = Math.max(0, timed.time.nowMs - this.#lastArrivalMs);
    const usual = this.#epoch?.lastDuration ?? 0;
    // The arrival time is jittery, so it counts only after a pause.
    const gap = this.#ms(usual) * 2 > gapMs ? usual : (gapMs * this.#timescale) / 1000;
    this.#takeAt((this.#lastTimestamp?.steady ?? timed.frame.rtpTimestamp) + Math.round(gap), timed);
  }

  /** Two pictures agree that the timestamps continue from another value. */
  #step(first: TimedFrame | undefined, second: TimedFrame): void {
    const from = this.#lastTimestamp?.source ?? 0;
    const stepMs = Math.abs(this.#ms((first ?? second).frame.rtpTimestamp - from));
    // A step this large more likely means another source than a clock that was set.
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

  /** The source is silent: its open segment is finished. If it comes back, it continues in its GOP. */
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

  /** Whether both pictures and sound were missing for longer than the source's pace explains. */
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

  /** A key frame brings new parameter sets: time continues, and the decoder starts again. */
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

  /** The time in which nothing arrived takes no room on the timeline. */
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
