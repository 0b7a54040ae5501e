import {
  type AudioFrame,
  createFrameAssembler,
  DecodeTimes,
  type Frame,
  type FrameAssembler,
  isFrameCodec,
  isRtcp,
  parseRtcp,
  type VideoFrame,
} from '@weir/frames';

import { containerFor } from './container.js';
import { MediaTime, type Target, type TrackTime } from './media-time.js';
import { Mp4Writer } from './mp4.js';
import type { Container, ContainerWriter, MediaSample, RecordedTrack } from './recorded-track.js';
import { Sound, type SoundPiece } from './sound.js';
import { type AudioConfig, configFrom, configOf, type TrackConfig, type VideoConfig } from './track-config.js';
import { WebmWriter } from './webm.js';

/** How long the other tracks wait for a video's first key frame, so that the file begins with it. */
const START_PATIENCE_MS = 2_000;
/** The file begins at least this long after its first frame. The first packets may have waited, and arrive too late. */
const SETTLE_MS = 300;
/** If the whole source is away for longer than this, the file doesn't show that time. */
const MAX_HOLE_MS = 30_000;
/** How much of such a hole the file shows. */
const SHOWN_HOLE_MS = 1_000;
/** A stretch without pictures, or without anything, is reported as a gap from this length on. */
const LEAST_GAP_MS = 2_000;
const MAX_GAPS = 1_000;
/** What waits for the next flush. More comes only from a hostile source or if nobody flushes. */
const MAX_PENDING_BYTES = 32 * 1024 * 1024;
/** A picture without a successor counts as long as the one before, up to this. */
const MAX_LAST_PICTURE_MS = 1_000;
/** By how much a picture may be shown before one that was decoded earlier. */
const MAX_REORDER_MS = 1_000;
const KEY_FRAME_INTERVAL_MS = 10_000;
/** How often the file says when what it shows was captured. */
const CAPTURED_INTERVAL_MS = 5_000;

export interface RecorderOptions {
  readonly container: Container;
  readonly tracks: readonly RecordedTrack[];
  /** A key frame is wanted this long after the previous one, because players can only seek to key frames. */
  readonly keyFrameIntervalMs?: number;
}

/** A stretch in which a track has nothing, in the file's time. */
export interface Gap {
  readonly track: number;
  readonly atMs: number;
  /** How long the source sent nothing. The file shows less than that if the whole source was away for long. */
  readonly lengthMs: number;
}

export interface RecordingFacts {
  /** The local time of the file's beginning; undefined while it hasn't begun. */
  readonly startedAtMs: number | undefined;
  /** When the first picture, or sound, was captured, by the sender's clock; undefined until a report tells it. */
  readonly firstFrameCapturedAtMs: number | undefined;
  readonly durationMs: number;
  /** How often data was lost before a frame. */
  readonly losses: number;
  readonly gaps: readonly Gap[];
}

interface Waiting {
  readonly track: Track;
  readonly frame: Frame;
  readonly target: Target;
  readonly arrivalMs: number;
}

interface TrackBase {
  readonly index: number;
  readonly assembler: FrameAssembler;
  readonly time: TrackTime;
  /** Where the last frame ends, in ms of the file. */
  endMs: number;
}

interface VideoTrack extends TrackBase {
  readonly kind: 'video';
  config: VideoConfig;
  needsKeyFrame: boolean;
  lastKeyFrameMs: number | undefined;
  lastPts: number;
  lastDts: number;
  frameTicks: number;
  decodeTimes: DecodeTimes | undefined;
}

interface AudioTrack extends TrackBase {
  readonly kind: 'audio';
  readonly config: AudioConfig;
  readonly sound: Sound;
  /** When the last frame from the source began, as opposed to inserted silence. */
  heardUntilMs: number;
}

type Track = VideoTrack | AudioTrack;

/**
 * Records the RTP and RTCP of one source into one file, or one part of a recording. It never waits for a silent track.
 * Tracks may be added later. The file begins with a key frame if one comes in time. Every time is in milliseconds since
 * 1970 by a clock that doesn't step, and no packet's memory may change afterwards. No packet makes it throw.
 */
export class Recorder {
  readonly #writer: ContainerWriter;
  readonly #container: Container;
  readonly #time = new MediaTime();
  #descriptions: readonly RecordedTrack[];
  readonly #tracks: Track[];
  readonly #keyFrameIntervalMs: number;
  /** Frames that came before the file began. */
  #waiting: Waiting[] = [];
  #pending: MediaSample[] = [];
  #pendingBytes = 0;
  #header: readonly TrackConfig[] | undefined;
  #originMs: number | undefined;
  #first: { track: Track; rtpTimestamp: number } | undefined;
  #firstCapturedMs: number | undefined;
  /** When the last frame was captured, by the sender's clock, as soon as reports tell it. */
  #captured: { readonly fileMs: number; readonly senderMs: number } | undefined;
  #capturedWrittenMs = -Infinity;
  /** Time that the file leaves out. */
  #cutMs = 0;
  #lastPacketMs: number | undefined;
  #nowMs = 0;
  #losses = 0;
  readonly #gaps: Gap[] = [];

  /** Throws a TypeError if the tracks don't fit into the container; ask `containerFor` first. */
  constructor(options: RecorderOptions) {
    const { container, tracks } = options;
    const fit = containerFor(tracks, container);
    if (fit.tag === 'unfit') throw new TypeError(fit.reason);
    this.#writer = container === 'webm' ? new WebmWriter() : new Mp4Writer();
    this.#container = container;
    this.#descriptions = tracks;
    this.#tracks = tracks.map((track, index) => trackOf(track, index, this.#time));
    this.#keyFrameIntervalMs = options.keyFrameIntervalMs ?? KEY_FRAME_INTERVAL_MS;
  }

  get facts(): RecordingFacts {
    return {
      startedAtMs: this.#originMs,
      firstFrameCapturedAtMs: this.#firstCapturedMs,
      durationMs: Math.max(0, ...this.#tracks.map((track) => track.endMs)),
      losses: this.#losses,
      gaps: this.#gaps,
    };
  }

  /** Whether the source of this track should be asked for a key frame. */
  wantsKeyFrame(index: number): boolean {
    const track = this.#tracks[index];
    if (track?.kind !== 'video') return false;
    const { needsKeyFrame, lastKeyFrameMs } = track;
    return needsKeyFrame || this.#nowMs - (lastKeyFrameMs ?? -Infinity) > this.#keyFrameIntervalMs;
  }

  /**
   * Adds a track to those that are recorded, even if the file has begun: the track is then empty up to this point. Its
   * place is the next one. Throws a TypeError if it doesn't fit into the container with the others; ask `containerFor`
   * first.
   */
  addTrack(track: RecordedTrack): void {
    const descriptions = [...this.#descriptions, track];
    const fit = containerFor(descriptions, this.#container);
    if (fit.tag === 'unfit') throw new TypeError(fit.reason);
    this.#descriptions = descriptions;
    this.#tracks.push(trackOf(track, this.#tracks.length, this.#time));
  }

  /** Takes an RTP or RTCP packet of a track, which is named by its place in `tracks`. */
  take(track: number, packet: Uint8Array, arrivalMs: number): void {
    const taker = this.#tracks[track];
    if (taker === undefined) return;
    this.#nowMs = Math.max(this.#nowMs, arrivalMs);
    this.#closeHole(this.#nowMs);
    if (isRtcp(packet)) {
      for (const message of parseRtcp(packet)) {
        const isOurs = message.tag === 'sender-report' && message.ssrc === taker.assembler.ssrc;
        if (isOurs) taker.time.senderReport(message);
      }
      this.#learnCapture();
      return;
    }
    for (const frame of taker.assembler.push(packet)) this.#takeFrame(taker, frame, this.#nowMs);
  }

  /** Returns the bytes to append now. To be called about once a second. */
  flush(nowMs: number): Uint8Array[] {
    this.#nowMs = Math.max(this.#nowMs, nowMs);
    // Not earlier, because the first sender reports may come meanwhile.
    const isComplete = this.#tracks.every(({ config }) => config.isKnown);
    const waitingMs = this.#nowMs - (this.#waiting[0]?.arrivalMs ?? this.#nowMs);
    if (waitingMs > (isComplete ? SETTLE_MS : START_PATIENCE_MS)) this.#begin();
    this.#advanceSound();
    return this.#write();
  }

  /** Returns the last bytes; nothing may be taken afterwards. */
  end(nowMs: number): Uint8Array[] {
    this.#nowMs = Math.max(this.#nowMs, nowMs);
    for (const track of this.#tracks) {
      for (const frame of track.assembler.flush()) this.#takeFrame(track, frame, this.#nowMs);
    }
    if (this.#waiting.length > 0) this.#begin();
    const picturesEndMs = Math.max(...this.#tracks.map(({ kind, endMs }) => (kind === 'video' ? endMs : 0)));
    for (const track of this.#tracks) {
      if (track.kind === 'video' || this.#originMs === undefined) continue;
      this.#addSound(track, track.sound.fillTo((picturesEndMs * track.config.timescale) / 1000));
    }
    return this.#write();
  }

  /** The whole source was away for long, so the file leaves that time out. */
  #closeHole(nowMs: number): void {
    const holeMs = nowMs - (this.#lastPacketMs ?? nowMs);
    this.#lastPacketMs = nowMs;
    if (holeMs <= MAX_HOLE_MS || this.#originMs === undefined) return;
    this.#cutMs += holeMs - SHOWN_HOLE_MS;
    for (const { index, endMs } of this.#tracks) this.#tellGap({ track: index, atMs: endMs, lengthMs: holeMs });
  }

  #tellGap(gap: Gap): void {
    if (this.#gaps.length < MAX_GAPS) this.#gaps.push(gap);
  }

  #takeFrame(track: Track, frame: Frame, arrivalMs: number): void {
    if (frame.lost) this.#losses++;
    const target = track.time.arrived(frame.rtpTimestamp, arrivalMs);
    if (track.kind === 'video' && (frame.kind !== 'video' || !this.#isUsable(track, frame))) return;
    if (this.#originMs !== undefined) {
      this.#place(track, frame, track.time.place(frame.rtpTimestamp, target));
      return;
    }
    this.#waiting.push({ track, frame, target, arrivalMs });
    this.#pendingBytes += bytesOf(frame);
    if (this.#pendingBytes > MAX_PENDING_BYTES / 2) this.#begin();
  }

  /** After a loss, pictures are left out until the next key frame, because players show garbage for those between. */
  #isUsable(track: VideoTrack, frame: VideoFrame): boolean {
    if (!frame.complete || this.#pendingBytes > MAX_PENDING_BYTES) track.needsKeyFrame = true;
    else if (frame.isKeyFrame) {
      const config = configFrom(track.config, frame);
      if (config === undefined) track.needsKeyFrame = true;
      else {
        track.needsKeyFrame = false;
        track.lastKeyFrameMs = this.#nowMs;
        if (!track.config.isKnown) track.config = config;
      }
    }
    return !track.needsKeyFrame;
  }

  /** The file begins, with the first key frame if there is one. */
  #begin(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#pendingBytes = 0;
    const first = waiting.find(({ track }) => track.kind === 'video') ?? waiting[0];
    if (first === undefined) return;
    for (const track of this.#tracks) {
      const newest = waiting.findLast((each) => each.track === track);
      if (newest !== undefined) track.time.settle(newest.frame.rtpTimestamp, newest.target);
    }
    this.#originMs = first.track.time.settled(first.frame.rtpTimestamp, first.target);
    this.#first = { track: first.track, rtpTimestamp: first.frame.rtpTimestamp };
    this.#learnCapture();
    for (const { track, frame, target } of waiting) {
      this.#place(track, frame, track.time.settled(frame.rtpTimestamp, target));
    }
  }

  #learnCapture(): void {
    if (this.#firstCapturedMs !== undefined || this.#first === undefined) return;
    this.#firstCapturedMs = this.#first.track.time.senderMs(this.#first.rtpTimestamp);
  }

  #fileMs(localMs: number): number {
    return localMs - this.#originMs! - this.#cutMs;
  }

  #place(track: Track, frame: Frame, localMs: number): void {
    const fileMs = this.#fileMs(localMs);
    const senderMs = track.time.senderMs(frame.rtpTimestamp);
    if (senderMs !== undefined && fileMs >= 0) this.#captured = { fileMs, senderMs };
    if (frame.kind === 'audio' && track.kind === 'audio') this.#placeSound(track, frame, fileMs);
    else if (frame.kind === 'video' && track.kind === 'video') this.#placePicture(track, frame, fileMs);
  }

  #placeSound(track: AudioTrack, frame: AudioFrame, fileMs: number): void {
    if (this.#pendingBytes > MAX_PENDING_BYTES) return;
    const gapMs = fileMs - track.heardUntilMs;
    if (gapMs > LEAST_GAP_MS) this.#tellGap({ track: track.index, atMs: track.heardUntilMs, lengthMs: gapMs });
    track.heardUntilMs = Math.max(track.heardUntilMs, fileMs);
    const ticksPerMs = track.config.timescale / 1000;
    const edgeTicks = this.#fileMs(this.#nowMs) * ticksPerMs;
    this.#addSound(track, track.sound.push(frame, Math.round(fileMs * ticksPerMs), edgeTicks));
  }

  /** Silence for the time in which no sound has come, while the source is alive. */
  #advanceSound(): void {
    if (this.#originMs === undefined || this.#lastPacketMs === undefined) return;
    for (const track of this.#tracks) {
      if (track.kind === 'video') continue;
      const edgeTicks = (this.#fileMs(this.#lastPacketMs) * track.config.timescale) / 1000;
      this.#addSound(track, track.sound.advance(edgeTicks));
    }
  }

  #addSound(track: AudioTrack, pieces: readonly SoundPiece[]): void {
    for (const { startTicks, durationTicks, data } of pieces) {
      this.#add({
        track: track.index,
        pts: startTicks,
        dts: startTicks,
        durationTicks,
        isKeyFrame: true,
        bytes: data.length,
        chunks: [data],
        hasNalLengths: false,
      });
    }
    track.endMs = (track.sound.endTicks * 1000) / track.config.timescale;
  }

  #placePicture(track: VideoTrack, frame: VideoFrame, fileMs: number): void {
    const ticksPerMs = track.config.timescale / 1000;
    let pts = Math.round(fileMs * ticksPerMs);
    const sps = track.config.nal?.sps;
    const reordersMs = sps === undefined || sps.reorderFrames === 0 ? 0 : MAX_REORDER_MS;
    // The next millisecond, because that is how exact the times of WebM are.
    const nextPts = track.lastPts + Math.ceil(ticksPerMs);
    if (pts < nextPts - reordersMs * ticksPerMs) pts = nextPts;
    // The first key frame of a further video may be slightly older than the file's beginning.
    if (track.lastPts === -Infinity) pts = Math.max(0, pts);
    // A picture that refers to one before the first key frame, and that no other refers to.
    if (pts < 0) return;
    const gapMs = pts / ticksPerMs - track.endMs;
    if (gapMs > LEAST_GAP_MS) this.#tellGap({ track: track.index, atMs: track.endMs, lengthMs: gapMs });
    track.decodeTimes ??= new DecodeTimes({ reorderFrames: sps?.reorderFrames ?? 0, frameTicks: track.frameTicks });
    const dts = sps === undefined ? pts : track.decodeTimes.push(pts);
    const stepTicks = dts - track.lastDts;
    if (Number.isFinite(stepTicks)) track.frameTicks = Math.min(stepTicks, MAX_LAST_PICTURE_MS * ticksPerMs);
    track.lastDts = dts;
    track.lastPts = Math.max(track.lastPts, pts);
    track.endMs = (track.lastPts + track.frameTicks) / ticksPerMs;
    const { chunks, bytes, hasNalLengths } = contentOf(frame);
    this.#add({
      track: track.index,
      pts,
      dts,
      durationTicks: track.frameTicks,
      isKeyFrame: frame.isKeyFrame,
      bytes,
      chunks,
      hasNalLengths,
    });
  }

  #add(sample: MediaSample): void {
    this.#pending.push(sample);
    this.#pendingBytes += sample.bytes;
  }

  #write(): Uint8Array[] {
    if (this.#originMs === undefined) return [];
    const configs = this.#tracks.map(({ config }) => config);
    const isNewHeader = configs.some((config, index) => config !== this.#header?.[index]);
    const samples = this.#pending;
    this.#pending = [];
    this.#pendingBytes = 0;
    const header = isNewHeader ? [this.#writer.header(configs, this.#originMs, this.#header === undefined)] : [];
    this.#header = configs;
    return [...header, ...this.#writer.media(samples, configs), ...this.#writeCaptured(configs)];
  }

  #writeCaptured(configs: readonly TrackConfig[]): Uint8Array[] {
    if (this.#captured === undefined) return [];
    const { fileMs, senderMs } = this.#captured;
    if (fileMs - this.#capturedWrittenMs < CAPTURED_INTERVAL_MS) return [];
    this.#capturedWrittenMs = fileMs;
    return [this.#writer.captured(configs, fileMs, senderMs)];
  }
}

function trackOf(track: RecordedTrack, index: number, time: MediaTime): Track {
  const config = configOf(track);
  const { codec, clockRate, channels, parameters, payloadType } = track;
  if (config === undefined || !isFrameCodec(codec)) throw new TypeError(`${codec} can't be recorded`);
  const assembler = createFrameAssembler({
    ...{ codec, clockRate, channels, parameters },
    ...(payloadType !== undefined && { payloadType }),
  });
  const base = { index, assembler, time: time.track(track.clockRate), endMs: 0 };
  if (config.kind === 'audio') return { ...base, kind: 'audio', config, sound: new Sound(config), heardUntilMs: 0 };
  return {
    ...{ ...base, kind: 'video', config, needsKeyFrame: true, lastKeyFrameMs: undefined },
    ...{
      lastPts: -Infinity,
      lastDts: -Infinity,
      frameTicks: Math.round(config.timescale / 30),
      decodeTimes: undefined,
    },
  };
}

const bytesOf = (frame: Frame): number => contentOf(frame).bytes;

/** A key frame has its parameter sets in front, because they may differ from those in the file's header. */
function contentOf(frame: Frame): Pick<MediaSample, 'chunks' | 'bytes' | 'hasNalLengths'> {
  if (!('nalUnits' in frame)) return { chunks: [frame.data], bytes: frame.data.length, hasNalLengths: false };
  const { parameterSets: sets, isKeyFrame, nalUnits } = frame;
  const chunks = isKeyFrame && sets ? [...sets.vps, ...sets.sps, ...sets.pps, ...nalUnits] : nalUnits;
  return { chunks, bytes: chunks.reduce((sum, chunk) => sum + 4 + chunk.length, 0), hasNalLengths: true };
}
