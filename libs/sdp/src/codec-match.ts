import { parseSdpProfileLevelId, Profile } from 'h264-profile-level-id';

import type { CodecName, StreamCodec } from './negotiation.js';
import type { OfferedCodec, OfferedMedia } from './offer.js';
import type { CodecParameters, MediaKind, RtcpFeedback } from './rtp-parameters.js';

interface CodecFacts {
  kind: MediaKind;
  clockRate: number;
  channels?: number;
  /** The fmtp parameters that are kept, returned in answers and passed to mediasoup. */
  parameters: readonly string[];
  /** Those by which mediasoup distinguishes two variants of the codec. */
  variant: readonly string[];
}

export const CODECS: Record<CodecName, CodecFacts> = {
  opus: {
    kind: 'audio',
    clockRate: 48000,
    channels: 2,
    parameters: [
      'minptime',
      'useinbandfec',
      'usedtx',
      'stereo',
      'sprop-stereo',
      'maxaveragebitrate',
      'maxplaybackrate',
    ],
    variant: [],
  },
  PCMU: { kind: 'audio', clockRate: 8000, parameters: [], variant: [] },
  PCMA: { kind: 'audio', clockRate: 8000, parameters: [], variant: [] },
  G722: { kind: 'audio', clockRate: 8000, parameters: [], variant: [] },
  H264: {
    kind: 'video',
    clockRate: 90000,
    parameters: ['level-asymmetry-allowed', 'packetization-mode', 'profile-level-id'],
    variant: ['level-asymmetry-allowed', 'packetization-mode', 'profile-level-id'],
  },
  VP8: { kind: 'video', clockRate: 90000, parameters: [], variant: [] },
  VP9: { kind: 'video', clockRate: 90000, parameters: ['profile-id'], variant: ['profile-id'] },
  AV1: { kind: 'video', clockRate: 90000, parameters: ['level-idx', 'profile', 'tier'], variant: [] },
};

/** The useful feedback, by kind. Transport-wide and REMB feedback depend on header extensions. */
const FEEDBACK: Record<MediaKind, readonly string[]> = {
  audio: ['nack'],
  video: ['nack', 'nack pli', 'ccm fir'],
};

/**
 * H.264 profiles, the most widely decodable first: a decoder that plays a later profile also plays the earlier ones.
 */
const H264_PROFILES: readonly Profile[] = [
  Profile.ConstrainedBaseline,
  Profile.Baseline,
  Profile.Main,
  Profile.ConstrainedHigh,
  Profile.High,
];

export function isCodecName(name: string): name is CodecName {
  return Object.hasOwn(CODECS, name);
}

/** Whether the offered codec is this codec, in a form that mediasoup supports. */
export function isUsable(codec: OfferedCodec, name: CodecName): boolean {
  const facts = CODECS[name];
  if (codec.name !== name || codec.clockRate !== facts.clockRate) return false;
  // Opus is always written with two channels (RFC 7587 §7). Some clients leave them out and mean the same.
  if (facts.kind === 'audio' && name !== 'opus' && (codec.channels ?? 1) !== (facts.channels ?? 1)) return false;
  if (looksLikeRtcp(codec.payloadType)) return false;
  return name !== 'H264' || (h264Rank(codec.parameters) >= 0 && packetizationMode(codec.parameters) <= 1);
}

/** With the marker bit, RTP packets of these payload types look like RTCP (RFC 5761 §4). */
const looksLikeRtcp = (payloadType: number): boolean => payloadType >= 64 && payloadType <= 95;

export function packetizationMode(parameters: CodecParameters): number {
  return Number(parameters['packetization-mode'] ?? 0);
}

function h264Profile(parameters: CodecParameters): Profile | undefined {
  return parseSdpProfileLevelId(parameters)?.profile;
}

/** 0 is the most widely decodable profile; -1 is an unknown one. */
function h264Rank(parameters: CodecParameters): number {
  const profile = h264Profile(parameters);
  return profile === undefined ? -1 : H264_PROFILES.indexOf(profile);
}

/** The variants of a codec that a publisher should send, best first. */
export function publishCandidates(media: OfferedMedia, name: CodecName): OfferedCodec[] {
  const cost = ({ parameters }: OfferedCodec): number => {
    switch (name) {
      case 'H264':
        return h264Rank(parameters) + (packetizationMode(parameters) === 1 ? 0 : H264_PROFILES.length);
      case 'VP9':
        return Number(parameters['profile-id'] ?? 0);
      case 'AV1':
        return Number(parameters['profile'] ?? 0);
      default:
        return 0;
    }
  };
  return media.codecs.filter((codec) => isUsable(codec, name)).sort((a, b) => cost(a) - cost(b));
}

/** The player's codecs that can carry the stream's codec, best first. */
export function playCandidates(media: OfferedMedia, stream: StreamCodec, name: CodecName): OfferedCodec[] {
  const usable = media.codecs.filter((codec) => isUsable(codec, name));
  switch (name) {
    case 'H264':
      return h264Candidates(usable, stream.parameters);
    case 'VP9':
      return usable.filter((codec) => sameParameter(codec, stream, 'profile-id'));
    case 'AV1':
      return usable.filter((codec) => sameParameter(codec, stream, 'profile'));
    default:
      return usable;
  }
}

function sameParameter(codec: OfferedCodec, stream: StreamCodec, name: string): boolean {
  return Number(codec.parameters[name] ?? 0) === Number(stream.parameters[name] ?? 0);
}

/**
 * The stream's own profile comes first. Any other is accepted, because encoders of WebRTC clients send constrained
 * baseline whatever was negotiated, and decoders ignore the SDP. The next higher profile is the better guess, then the
 * next lower one. Codecs with a lower packetization mode than the stream's come last, but are accepted too: players
 * that leave the mode out or say 0 still reassemble fragments.
 */
function h264Candidates(codecs: readonly OfferedCodec[], stream: CodecParameters): OfferedCodec[] {
  const mode = packetizationMode(stream);
  const rank = h264Rank(stream);
  const cost = ({ parameters }: OfferedCodec): number => {
    const distance = h264Rank(parameters) - rank;
    const profileCost = distance >= 0 ? distance : H264_PROFILES.length - distance;
    const difference = packetizationMode(parameters) - mode;
    return profileCost * 2 + Math.abs(difference) + (difference < 0 ? H264_PROFILES.length * 4 : 0);
  };
  return [...codecs].sort((a, b) => cost(a) - cost(b));
}

export function pickParameters(codec: { parameters: CodecParameters }, names: readonly string[]): CodecParameters {
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = codec.parameters[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

export function commonFeedback(codec: OfferedCodec, kind: MediaKind, more: readonly string[] = []): RtcpFeedback[] {
  const offered = new Set(codec.rtcpFeedback.map(feedbackText));
  return [...FEEDBACK[kind], ...more].filter((text) => offered.has(text)).map((text) => toFeedback(text));
}

export function feedbackText({ type, parameter }: RtcpFeedback): string {
  return parameter === undefined || parameter === '' ? type : `${type} ${parameter}`;
}

function toFeedback(text: string): RtcpFeedback {
  const [type = '', parameter] = text.split(' ');
  return parameter === undefined ? { type } : { type, parameter };
}

/** For error messages: `H264/42e01f`, `VP8`. */
export function describeCodec({ name, parameters }: { name: string; parameters: CodecParameters }): string {
  const profile = parameters['profile-level-id'] ?? parameters['profile-id'];
  return profile === undefined ? name : `${name}/${profile}`;
}

/**
 * What a section offers, without the codecs that never carry media of their own. For a codec that weir supports only in
 * another form, it adds what differs: `PCMU (16000 Hz)`.
 */
export function describeOffered(media: OfferedMedia): string[] {
  return media.codecs.flatMap((codec) => {
    if (!isCodecName(codec.name)) return [];
    const { clockRate, channels = 1 } = CODECS[codec.name];
    const oddities = isUsable(codec, codec.name)
      ? []
      : [
          ...(codec.clockRate === clockRate ? [] : [`${codec.clockRate} Hz`]),
          ...((codec.channels ?? 1) === channels || codec.name === 'opus' ? [] : [`${codec.channels ?? 1} channels`]),
          ...(looksLikeRtcp(codec.payloadType) ? [`payload type ${codec.payloadType}, which RTCP has`] : []),
          ...(packetizationMode(codec.parameters) > 1 ? ['interleaved'] : []),
        ];
    return [`${describeCodec(codec)}${oddities.length > 0 ? ` (${oddities.join(', ')})` : ''}`];
  });
}
