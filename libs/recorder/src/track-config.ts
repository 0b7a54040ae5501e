import {
  aacConfigBytes,
  type Av1Sequence,
  av1SequenceIn,
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
  readonly av1?: (Av1Sequence & { readonly configuration: Uint8Array }) | undefined;
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

/** What a key frame says about its track; undefined if it can't be used. */
export function configFrom(known: VideoConfig, frame: VideoFrame): VideoConfig | undefined {
  switch (frame.codec) {
    case 'VP8':
    case 'VP9': {
      const dimensions = frame.codec === 'VP8' ? vp8Dimensions(frame.data) : vp9Dimensions(frame.data);
      return dimensions && { ...known, ...dimensions, isKnown: true };
    }
    case 'AV1': {
      const read = av1SequenceIn(frame.data);
      if (read === undefined) return undefined;
      const { width, height } = read.sequence;
      return {
        ...known,
        width,
        height,
        isKnown: true,
        av1: { ...read.sequence, configuration: av1Configuration(read) },
      };
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

/** AV1CodecConfigurationRecord, which WebM and MP4 files have alike. */
function av1Configuration({ obu, sequence }: { obu: Uint8Array; sequence: Av1Sequence }): Uint8Array {
  const { profile, level, tier, isHighDepth, isTwelveBit, isMonochrome } = sequence;
  const { subsamplingX, subsamplingY, samplePosition } = sequence;
  const depth = (isHighDepth ? 0x40 : 0) | (isTwelveBit ? 0x20 : 0) | (isMonochrome ? 0x10 : 0);
  const chroma = (subsamplingX << 3) | (subsamplingY << 2) | samplePosition;
  return Uint8Array.of(0x81, (profile << 5) | level, (tier << 7) | depth | chroma, 0, ...obu);
}
