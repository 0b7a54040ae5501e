import { parseSdpProfileLevelId, Profile } from 'h264-profile-level-id';

import type { CodecName, StreamCodec } from './negotiation.js';
import type { OfferedCodec, OfferedMedia } from './offer.js';
import type { CodecParameters, MediaKind, RtcpFeedback } from './rtp-parameters.js';

interface CodecFacts {
  kind: MediaKind;
  clockRate: number;
  channels?: number;
  /** fmtp parameters that are kept, echoed and handed to mediasoup. */
  parameters: readonly string[];
  /** Those of them by which mediasoup tells two variants of the codec apart. */
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

/** The feedback that is worth having, by kind. Transport-wide and REMB feedback depend on header extensions. */
const FEEDBACK: Record<MediaKind, readonly string[]> = {
  audio: ['nack'],
  video: ['nack', 'nack pli', 'ccm fir'],
};

/**
 * H.264 profiles in the order of what a stream should have to be decodable everywhere: each also plays where a later
 * one does.
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

/** Whether the offered codec is this one in a form that mediasoup carries. */
export function isUsable(codec: OfferedCodec, name: CodecName): boolean {
  const facts = CODECS[name];
  if (codec.name !== name || codec.clockRate !== facts.clockRate) return false;
  // Opus is written with two channels whatever it carries (RFC 7587 §7). Some leave them out, and mean the same.
  if (facts.kind === 'audio' && name !== 'opus' && (codec.channels ?? 1) !== (facts.channels ?? 1)) return false;
  if (looksLikeRtcp(codec.payloadType)) return false;
  return name !== 'H264' || (h264Rank(codec.parameters) >= 0 && packetizationMode(codec.parameters) <= 1);
}

/** RTP with the marker bit and such a payload type (RFC 5761 §4). */
const looksLikeRtcp = (payloadType: number): boolean => payloadType >= 64 && payloadType <= 95;

export function packetizationMode(parameters: CodecParameters): number {
  return Number(parameters['packetization-mode'] ?? 0);
}

function h264Profile(parameters: CodecParameters): Profile | undefined {
  return parseSdpProfileLevelId(parameters)?.profile;
}

/** 0 is the most widely decodable; -1 is a profile that nobody here knows. */
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

/** The player's codecs that can carry the stream's, best first. */
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
 * The stream's own profile first. Else any: encoders of WebRTC clients send constrained baseline whatever was
 * negotiated, and decoders don't look at the SDP. The next higher profile is the better guess, then the next lower.
 * The packetization mode comes before that, but isn't insisted on either: who leaves it out, or says 0, puts fragments
 * together all the same.
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
 * What a section offers, without the codecs that never carry media of their own; with what makes a codec of ours one that
 * isn't: `PCMU (16000 Hz)`.
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
