import { aacConfigBytes, parseAacConfig } from '@weir/frames';
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
}

const TRANSCODED_VIDEO: PackagedVideo = { codec: 'H264', clockRate: 90_000 };
/** AAC-LC, 48 kHz, stereo (ISO 14496-3 §1.6.2.1), in RFC 3640's AAC-hbr. */
const TRANSCODED_AUDIO: PackagedAudio = {
  codec: 'mpeg4-generic',
  clockRate: 48_000,
  channels: 2,
  parameters: { mode: 'AAC-hbr', config: '1190', sizelength: '13', indexlength: '3', indexdeltalength: '3' },
};

/** What ffmpeg can take from RTP and HLS can't carry. */
const VIDEO_TO_TRANSCODE = new Set(['vp8', 'vp9', 'av1', 'mp4v-es', 'jpeg']);
const AUDIO_TO_TRANSCODE = new Set(['pcmu', 'pcma', 'g722', 'l16', 'mp4a-latm', 'mpa', 'speex']);

export function planStream(tracks: readonly SourceTrack[], opus: 'keep' | 'aac'): StreamPlan {
  const video = tracks.find(({ kind }) => kind === 'video');
  const audio = tracks.find(({ kind }) => kind === 'audio');
  return { video: video && planVideo(video), audio: audio && planAudio(audio, opus) };
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
  return VIDEO_TO_TRANSCODE.has(name) ? { tag: 'transcode', source, packaged: TRANSCODED_VIDEO } : undefined;
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
  return AUDIO_TO_TRANSCODE.has(name) ? { tag: 'transcode', source, packaged: TRANSCODED_AUDIO } : undefined;
}
