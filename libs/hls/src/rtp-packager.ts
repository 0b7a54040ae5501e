import {
  aacConfigBytes,
  createFrameAssembler,
  type Frame,
  type FrameAssembler,
  isRtcp,
  parseAacConfig,
  parseRtcp,
  SourceClock,
  type TrackClock,
  type TrackDescription,
} from '@weir/frames';

import type { SegmentOutput } from './segment-output.js';
import { type AudioDescription, Segmenter, type SegmenterOptions } from './segmenter.js';

/** The codecs that segments can hold without transcoding. */
export type PackagedVideo = TrackDescription & { readonly codec: 'H264' | 'H265' };
export type PackagedAudio = TrackDescription & { readonly codec: 'opus' | 'MPEG4-GENERIC' };

export interface RtpPackagerOptions extends Omit<SegmenterOptions, 'video' | 'audio'> {
  video?: PackagedVideo;
  audio?: PackagedAudio;
}

interface Track {
  assembler: FrameAssembler;
  clock: TrackClock;
}

/**
 * Takes the RTP and RTCP of a stream's one or two tracks and returns segments: it combines assemblers, clocks and the
 * segmenter. Every `nowMs` counts from 1970 by a clock that doesn't step (`performance.timeOrigin +
 * performance.now()`), because the playlist's dates come from it.
 */
export class RtpPackager {
  readonly #options: RtpPackagerOptions;
  readonly #segmenter: Segmenter;
  #tracks!: { video: Track | undefined; audio: Track | undefined };
  #framesLost = 0;

  /** Throws a TypeError if there is no track, or if an AAC track's parameters lack a usable `config`. */
  constructor(options: RtpPackagerOptions) {
    this.#options = options;
    const { video, audio, ...rest } = options;
    this.#segmenter = new Segmenter({
      ...rest,
      ...(video && { video: { codec: video.codec, clockRate: video.clockRate } }),
      ...(audio && { audio: audioDescriptionOf(audio) }),
    });
    this.#resetTracks();
  }

  /** How often data was lost before a frame; used for metrics and to ask the source for a key frame. */
  get framesLost(): number {
    return this.#framesLost;
  }

  /**
   * Takes an RTP or RTCP packet of that track, whose memory must not change afterwards. Malformed packets are ignored.
   */
  push(kind: 'video' | 'audio', packet: Uint8Array, nowMs: number): SegmentOutput[] {
    const track = this.#tracks[kind];
    if (track === undefined) return [];
    if (isRtcp(packet)) {
      for (const message of parseRtcp(packet)) {
        const isOurs = message.tag === 'sender-report' && message.ssrc === track.assembler.ssrc;
        if (isOurs) track.clock.senderReport(message);
      }
      return [];
    }
    return this.#segment(track, track.assembler.push(packet), nowMs);
  }

  advance(nowMs: number): SegmentOutput[] {
    return this.#segmenter.advance(nowMs);
  }

  /** The source has gone; when it comes back, its numbering and clocks may differ. */
  interrupt(nowMs: number): SegmentOutput[] {
    const outputs = [...this.#drain(nowMs), ...this.#segmenter.interrupt()];
    this.#resetTracks();
    return outputs;
  }

  end(nowMs: number): SegmentOutput[] {
    return [...this.#drain(nowMs), ...this.#segmenter.end()];
  }

  #drain(nowMs: number): SegmentOutput[] {
    const { video, audio } = this.#tracks;
    return [audio, video].flatMap((track) => (track ? this.#segment(track, track.assembler.flush(), nowMs) : []));
  }

  #segment({ clock }: Track, frames: readonly Frame[], nowMs: number): SegmentOutput[] {
    const outputs: SegmentOutput[] = [];
    for (const frame of frames) {
      if (frame.lost) this.#framesLost++;
      clock.arrived(frame.rtpTimestamp, nowMs);
      const wallClockMs = clock.wallClockMs(frame.rtpTimestamp) ?? nowMs;
      for (const output of this.#segmenter.push(frame, { nowMs, wallClockMs })) outputs.push(output);
    }
    return outputs;
  }

  #resetTracks(): void {
    const source = new SourceClock();
    const trackOf = (description: PackagedVideo | PackagedAudio | undefined): Track | undefined =>
      description && { assembler: createFrameAssembler(description), clock: source.track(description.clockRate) };
    this.#tracks = { video: trackOf(this.#options.video), audio: trackOf(this.#options.audio) };
  }
}

function audioDescriptionOf(audio: PackagedAudio): AudioDescription {
  if (audio.codec === 'opus') return { codec: 'opus', channels: audio.channels };
  const config = aacConfigBytes(audio.parameters);
  const parsed = config && parseAacConfig(config);
  if (config === undefined || parsed === undefined) throw new TypeError('AAC without a usable config parameter');
  const { channels, frameSamples, sampleRate } = parsed;
  const frameTicks = Math.round((frameSamples * audio.clockRate) / sampleRate);
  return { codec: 'MPEG4-GENERIC', clockRate: audio.clockRate, channels, config, frameTicks };
}
