import { aacConfigBytes, isDecodable, parseAacConfig, type TrackDescription } from '@weir/frames';
import type { PackagedAudio, PackagedVideo } from '@weir/hls';

/** How a track is put into segments: unchanged, or transcoded first. */
export type TrackPlan<Packaged> =
  | { readonly tag: 'as-is'; readonly source: TrackDescription; readonly packaged: Packaged }
  | { readonly tag: 'transcode'; readonly source: TrackDescription; readonly packaged: Packaged };

export interface StreamPlan {
  readonly video: TrackPlan<PackagedVideo> | undefined;
  readonly audio: TrackPlan<PackagedAudio> | undefined;
  /** The tracks that aren't packaged, for people to read. */
  readonly notCarried: readonly string[];
}

export const EMPTY_PLAN: StreamPlan = { video: undefined, audio: undefined, notCarried: [] };

const TRANSCODED_VIDEO: PackagedVideo = {
  kind: 'video',
  codec: 'H264',
  clockRate: 90_000,
  channels: 0,
  parameters: {},
};
/** AAC-LC, 48 kHz, stereo (ISO 14496-3 §1.6.2.1), in the mode AAC-hbr of RFC 3640. */
const TRANSCODED_AUDIO: PackagedAudio = {
  kind: 'audio',
  codec: 'MPEG4-GENERIC',
  clockRate: 48_000,
  channels: 2,
  parameters: { mode: 'AAC-hbr', config: '1190', sizelength: '13', indexlength: '3', indexdeltalength: '3' },
};

export function planStream(tracks: readonly TrackDescription[], opus: 'keep' | 'aac'): StreamPlan {
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

function planVideo(source: TrackDescription): TrackPlan<PackagedVideo> | undefined {
  const { codec } = source;
  if (codec === 'H264' || codec === 'H265') return { tag: 'as-is', source, packaged: { ...source, codec } };
  return isDecodable('video', codec) ? { tag: 'transcode', source, packaged: TRANSCODED_VIDEO } : undefined;
}

function planAudio(source: TrackDescription, opus: 'keep' | 'aac'): TrackPlan<PackagedAudio> | undefined {
  const { codec, channels, parameters } = source;
  if (codec === 'opus' && opus === 'keep')
    return { tag: 'as-is', source, packaged: { ...source, codec, channels: channels || 2 } };
  if (codec === 'MPEG4-GENERIC') {
    const config = aacConfigBytes(parameters);
    // AAC can be neither described nor decoded without its configuration.
    if (config === undefined || parseAacConfig(config) === undefined) return undefined;
    return { tag: 'as-is', source, packaged: { ...source, codec } };
  }
  return isDecodable('audio', codec) ? { tag: 'transcode', source, packaged: TRANSCODED_AUDIO } : undefined;
}
