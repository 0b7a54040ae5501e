import {
  aacConfigBytes,
  type H264Sps,
  type H265Sps,
  type NalFrame,
  parseAacConfig,
  parseH264Sps,
  parseH265Sps,
  type ParameterSets,
  type TrackDescription,
  type VideoFrame,
  vp8Dimensions,
  vp9Dimensions,
} from '@weir/frames';

/** What a file's header says about a track. */
export type TrackConfig = VideoConfig | AudioConfig;

export interface VideoConfig {
  readonly kind: 'video';
  readonly codec: 'VP8' | 'VP9' | 'AV1' | 'H264' | 'H265';
  readonly timescale: number;
  readonly width: number;
  readonly height: number;
  /** False until a key frame has shown what the header needs. */
  readonly isKnown: boolean;
  /** AV1CodecConfigurationRecord. */
  readonly av1Config?: Uint8Array | undefined;
  readonly nal?:
    | { readonly codec: 'H264'; readonly parameterSets: ParameterSets; readonly sps: H264Sps }
    | { readonly codec: 'H265'; readonly parameterSets: ParameterSets; readonly sps: H265Sps }
    | undefined;
}

export interface AudioConfig {
  readonly kind: 'audio';
  readonly codec: 'opus' | 'MPEG4-GENERIC';
  readonly timescale: number;
  readonly channels: number;
  readonly isKnown: true;
  /** AudioSpecificConfig, for AAC. */
  readonly config?: Uint8Array | undefined;
  readonly aacFrameTicks: number;
}

/** A header must name a size; this is what it names while no key frame has come. */
const UNKNOWN_DIMENSIONS = { width: 640, height: 480 };

/** Undefined if the track can't be recorded, for example AAC without its `config` parameter. */
export function configOf(track: TrackDescription): TrackConfig | undefined {
  const { codec, clockRate: timescale } = track;
  switch (codec) {
    case 'VP8':
    case 'VP9':
    case 'AV1':
    case 'H264':
    case 'H265':
      return { kind: 'video', codec, timescale, ...UNKNOWN_DIMENSIONS, isKnown: false };
    case 'opus':
      return {
        ...{ kind: 'audio', codec, timescale: 48_000, isKnown: true, aacFrameTicks: 0 },
        channels: Math.max(1, track.channels),
      };
    case 'MPEG4-GENERIC': {
      const config = aacConfigBytes(track.parameters);
      const parsed = config && parseAacConfig(config);
      if (parsed === undefined) return undefined;
      const aacFrameTicks = Math.round((parsed.frameSamples * timescale) / parsed.sampleRate);
      return { kind: 'audio', codec, timescale, channels: parsed.channels, isKnown: true, config, aacFrameTicks };
    }
    default:
      return undefined;
  }
}

/** What a key frame tells about its track; undefined if it can't be used. */
export function configFrom(known: VideoConfig, frame: VideoFrame): VideoConfig | undefined {
  switch (frame.codec) {
    case 'VP8':
    case 'VP9': {
      const dimensions = frame.codec === 'VP8' ? vp8Dimensions(frame.data) : vp9Dimensions(frame.data);
      return dimensions && { ...known, ...dimensions, isKnown: true };
    }
    case 'H264':
    case 'H265': {
      const nal = nalConfigOf(frame);
      return nal && { ...known, width: nal.sps.width, height: nal.sps.height, isKnown: true, nal };
    }
    default:
      return frame satisfies never;
  }
}

function nalConfigOf({ codec, parameterSets }: NalFrame): VideoConfig['nal'] {
  const [set] = parameterSets?.sps ?? [];
  if (set === undefined || parameterSets === undefined) return undefined;
  if (codec === 'H264') {
    const sps = parseH264Sps(set);
    return sps && { codec, parameterSets, sps };
  }
  const sps = parseH265Sps(set);
  return sps && { codec, parameterSets, sps };
}
