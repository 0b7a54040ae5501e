import type { Frame } from '@weir/frames';
import type { AudioTrack } from '@weir/mp4';

import { AudioOnlyTimeline } from './audio-only-timeline.js';
import { AudioQueue } from './audio-queue.js';
import { PartPacing } from './part-pacing.js';
import type { SegmentOutput } from './segment-output.js';
import { SegmentWriter } from './segment-writer.js';
import type { FrameTime, TimelineContext } from './timeline.js';
import { VideoTimeline } from './video-timeline.js';

export type AudioDescription =
  | { codec: 'MPEG4-GENERIC'; clockRate: number; channels: number; config: Uint8Array; frameTicks?: number }
  | { codec: 'opus'; channels: number };

export interface SegmenterOptions {
  video?: { codec: 'H264' | 'H265'; clockRate: number };
  audio?: AudioDescription;
  /** The wanted duration of a part; the stream's own frame duration decides. */
  partMs?: number;
  /** A segment ends with the first key frame after this much media … */
  segmentMs?: number;
  /**
   * … and at the latest after this, with or without a key frame. It is also how long to wait for a silent source. Whole
   * seconds.
   */
  maxSegmentMs?: number;
  /**
   * The very first segment ends with the first part that brings it to this duration, with or without a key frame. The
   * second ends with the next key frame. Players then start sooner, because they need a finished segment. If it is
   * undefined, the first segment is like all others.
   */
  firstSegmentMs?: number;
  /** The part target of the playlist that is continued. If it is undefined, the stream's own frame duration decides. */
  partTargetMs?: number | undefined;
  /** How far audio may lag behind the video before silence replaces it. */
  audioPatienceMs?: number;
  /** Set when a packager continues the playlist of an earlier one; its first segment then follows a discontinuity. */
  firstMsn?: number;
  firstInitId?: number;
}

/**
 * Turns frames into fragmented MP4: parts of about a fifth of a second and segments that begin with key frames, with
 * audio and video in one rendition. With one rendition, a player has only one request per part and can't get out of
 * step; hls.js, Apple's players and ffmpeg all accept it.
 */
export class Segmenter {
  readonly #writer: SegmentWriter;
  readonly #timeline: VideoTimeline | AudioOnlyTimeline;

  constructor(options: SegmenterOptions) {
    const pacing = new PartPacing(options.partMs ?? 200, options.partTargetMs);
    const { firstMsn = 0, firstInitId = 0, maxSegmentMs = 4_000 } = options;
    const continuesEarlier = firstMsn > 0 || firstInitId > 0;
    this.#writer = new SegmentWriter({ pacing, firstMsn, firstInitId, continuesEarlier });
    const context: TimelineContext = {
      writer: this.#writer,
      pacing,
      segmentMs: options.segmentMs ?? 1_000,
      maxSegmentMs,
      firstSegmentMs: options.firstSegmentMs,
    };
    const audio = options.audio && audioQueueOf(options.audio, options.audioPatienceMs ?? 500);
    if (options.video !== undefined) this.#timeline = new VideoTimeline(context, options.video, audio);
    else if (audio !== undefined) this.#timeline = new AudioOnlyTimeline(context, audio);
    else throw new TypeError('A stream without audio and video has nothing to segment');
  }

  /** Ignores frames of a track that wasn't announced or that have another codec. */
  push(frame: Frame, time: FrameTime): SegmentOutput[] {
    if (frame.kind === 'video') this.#timeline.pushVideo(frame, time);
    else this.#timeline.pushAudio(frame, time);
    return this.#writer.take();
  }

  /** Must be called regularly, so that the last segment of a source that fell silent is finished. */
  advance(nowMs: number): SegmentOutput[] {
    this.#timeline.advance(nowMs);
    return this.#writer.take();
  }

  /** The source is known to be gone and may come back: the last segment ends, and a discontinuity follows. */
  interrupt(): SegmentOutput[] {
    this.#timeline.interrupt();
    return this.#writer.take();
  }

  /** The stream has ended; nothing may be pushed afterwards. */
  end(): SegmentOutput[] {
    this.#timeline.interrupt();
    this.#writer.endStream();
    return this.#writer.take();
  }
}

function audioQueueOf(audio: AudioDescription, patienceMs: number): AudioQueue {
  const trackId = 2;
  const track: AudioTrack =
    audio.codec === 'opus'
      ? { codec: 'opus', trackId, timescale: 48_000, channels: audio.channels }
      : { codec: audio.codec, trackId, timescale: audio.clockRate, channels: audio.channels, config: audio.config };
  const aacFrameTicks = audio.codec === 'opus' ? 0 : (audio.frameTicks ?? 1024);
  return new AudioQueue(track, { aacFrameTicks, patienceMs });
}
