import { aacConfigBytes, decodableCodec, parseAacConfig } from '@weir/frames';
import type { RtpTrackDescription } from '@weir/hls';

/** One medium as its source sends it; SDP's fmtp parameters with names in lower case. */
export interface SourceTrack {
  readonly kind: 'audio' | 'video';
  /** As in SDP's rtpmap. */
  readonly codec: string;
  readonly clockRate: number;
  readonly channels: number;
  readonly parameters: Readonly<Record<string, string>>;
}

export type PackagedVideo = RtpTrackDescription & { codec: 'H264' | 'H265' };
export type PackagedAudio = RtpTrackDescription & { codec: 'opus' | 'mpeg4-generic' };

/** How a track gets into segments: as it is, or through an encoder first. */
export type TrackPlan<Packaged> =
  | { readonly tag: 'as-is'; readonly source: SourceTrack; readonly packaged: Packaged }
  | { readonly tag: 'transcode'; readonly source: SourceTrack; readonly packaged: Packaged };

export interface StreamPlan {
  readonly video: TrackPlan<PackagedVideo> | undefined;
  readonly audio: TrackPlan<PackagedAudio> | undefined;
  /** For people: the tracks that aren't packaged. */
  readonly notCarried: readonly string[];
}

export const EMPTY_PLAN: StreamPlan = { video: undefined, audio: undefined, notCarried: [] };

const TRANSCODED_VIDEO: PackagedVideo = { codec: 'H264', clockRate: 90_000 };
/** AAC-LC, 48 kHz, stereo (ISO 14496-3 §1.6.2.1), in RFC 3640's AAC-hbr. */
const TRANSCODED_AUDIO: PackagedAudio = {
  codec: 'mpeg4-generic',
  clockRate: 48_000,
  channels: 2,
  parameters: { mode: 'AAC-hbr', config: '1190', sizelength: '13', indexlength: '3', indexdeltalength: '3' },
};

export function planStream(tracks: readonly SourceTrack[], opus: 'keep' | 'aac'): StreamPlan {
  const videoSource = tracks.find(({ kind }) => kind === 'video');
  const audioSource = tracks.find(({ kind }) => kind === 'audio');
  const video = videoSource && planVideo(videoSource);
  const audio = audioSource && planAudio(audioSource, opus);
  const notCarried = tracks
    .filter((track) => track !== video?.source && track !== audio?.source)
    .map(({ kind, codec }) => `${kind} ${codec}: can be neither packaged nor decoded`);
  return { video, audio, notCarried };
}

export const needsTranscoding = ({ video, audio }: StreamPlan): boolean =>
  video?.tag === 'transcode' || audio?.tag === 'transcode';

function planVideo(source: SourceTrack): TrackPlan<PackagedVideo> | undefined {
  const { clockRate, parameters } = source;
  const name = source.codec.toLowerCase();
  if (name === 'h264') return { tag: 'as-is', source, packaged: { codec: 'H264', clockRate, parameters } };
  if (name === 'h265' || name === 'hevc') {
    return { tag: 'as-is', source, packaged: { codec: 'H265', clockRate, parameters } };
  }
  const isDecodable = decodableCodec('video', source.codec) !== undefined;
  return isDecodable ? { tag: 'transcode', source, packaged: TRANSCODED_VIDEO } : undefined;
}

function planAudio(source: SourceTrack, opus: 'keep' | 'aac'): TrackPlan<PackagedAudio> | undefined {
  const { clockRate, channels, parameters } = source;
  const name = source.codec.toLowerCase();
  if (name === 'opus') {
    return opus === 'keep'
      ? { tag: 'as-is', source, packaged: { codec: 'opus', clockRate, channels: channels || 2, parameters } }
      : { tag: 'transcode', source, packaged: TRANSCODED_AUDIO };
  }
  if (name === 'mpeg4-generic') {
    const config = aacConfigBytes(parameters);
    // Without its configuration AAC can be neither described nor decoded.
    if (config === undefined || parseAacConfig(config) === undefined) return undefined;
    return { tag: 'as-is', source, packaged: { codec: 'mpeg4-generic', clockRate, channels, parameters } };
  }
  const isDecodable = decodableCodec('audio', source.codec) !== undefined;
  return isDecodable ? { tag: 'transcode', source, packaged: TRANSCODED_AUDIO } : undefined;
}
