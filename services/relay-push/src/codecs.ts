import { MediaKind, type TappedTrack } from '@weir/contracts';
import { codecNamed } from '@weir/frames';
import type { AnsweredCodec, OwnCodec } from '@weir/sdp';

export type Kind = 'audio' | 'video';

interface CodecFacts {
  readonly kind: Kind;
  readonly payloadType: number;
  readonly clockRate: number;
  readonly channels: number;
  /** The fmtp parameters that the remote should know. */
  readonly parameters: readonly string[];
  /** The one of them that must match: a decoder with another value can't decode the packets. */
  readonly variant?: string;
}

/** The codecs that WebRTC servers can exchange without transcoding, by name. */
const CODECS: Readonly<Record<string, CodecFacts & { readonly name: string }>> = {
  opus: {
    name: 'opus',
    kind: 'audio',
    payloadType: 111,
    clockRate: 48_000,
    channels: 2,
    parameters: ['minptime', 'useinbandfec', 'stereo', 'sprop-stereo'],
  },
  G722: { name: 'G722', kind: 'audio', payloadType: 9, clockRate: 8_000, channels: 1, parameters: [] },
  PCMU: { name: 'PCMU', kind: 'audio', payloadType: 0, clockRate: 8_000, channels: 1, parameters: [] },
  PCMA: { name: 'PCMA', kind: 'audio', payloadType: 8, clockRate: 8_000, channels: 1, parameters: [] },
  H264: {
    name: 'H264',
    kind: 'video',
    payloadType: 102,
    clockRate: 90_000,
    channels: 1,
    parameters: ['profile-level-id', 'packetization-mode'],
    variant: 'packetization-mode',
  },
  VP8: { name: 'VP8', kind: 'video', payloadType: 96, clockRate: 90_000, channels: 1, parameters: [] },
  VP9: {
    name: 'VP9',
    kind: 'video',
    payloadType: 98,
    clockRate: 90_000,
    channels: 1,
    parameters: ['profile-id'],
    variant: 'profile-id',
  },
  AV1: {
    name: 'AV1',
    kind: 'video',
    payloadType: 99,
    clockRate: 90_000,
    channels: 1,
    parameters: ['profile', 'level-idx', 'tier'],
    variant: 'profile',
  },
};

const factsOf = (name: string): (CodecFacts & { readonly name: string }) | undefined =>
  Object.hasOwn(CODECS, name) ? CODECS[name] : undefined;

export const kindOf = (kind: MediaKind | undefined): Kind | undefined =>
  kind === MediaKind.AUDIO ? 'audio' : kind === MediaKind.VIDEO ? 'video' : undefined;

/** The codec under which a tapped track is offered; undefined for a codec that WebRTC servers don't take. */
export const offeredCodecOf = ({ track }: TappedTrack): (OwnCodec & { readonly kind: Kind }) | undefined => {
  const facts = factsOf(codecNamed(track?.codec ?? ''));
  if (track === undefined || facts === undefined || track.clockRate !== facts.clockRate) return undefined;
  const { name, kind, payloadType, clockRate, channels } = facts;
  const known = facts.parameters.flatMap((key) => {
    const value = track.parameters[key];
    return value !== undefined && /^[\w.+/=-]{1,64}$/.test(value) ? [[key, value] as const] : [];
  });
  const parameters = Object.fromEntries(known);
  if (name !== 'H264') return { kind, name, payloadType, clockRate, channels, parameters };
  // Cameras omit these parameters although they hold for their streams.
  const h264 = {
    'profile-level-id': '42e01f',
    ...parameters,
    'packetization-mode': '1',
    'level-asymmetry-allowed': '1',
  };
  return { kind, name, payloadType, clockRate, channels, parameters: h264 };
};

const h264 = (payloadType: number, profileLevelId: string): OwnCodec => ({
  ...{ payloadType, name: 'H264', clockRate: 90_000, channels: 1 },
  parameters: { 'level-asymmetry-allowed': '1', 'packetization-mode': '1', 'profile-level-id': profileLevelId },
});

/** The codecs that a pull offers, best first. The remote sends the codecs that its stream has. */
export const RECEIVED_CODECS: Readonly<Record<Kind, readonly OwnCodec[]>> = {
  audio: [
    {
      payloadType: 111,
      name: 'opus',
      clockRate: 48_000,
      channels: 2,
      parameters: { minptime: '10', useinbandfec: '1' },
    },
    { payloadType: 9, name: 'G722', clockRate: 8_000, channels: 1, parameters: {} },
    { payloadType: 0, name: 'PCMU', clockRate: 8_000, channels: 1, parameters: {} },
    { payloadType: 8, name: 'PCMA', clockRate: 8_000, channels: 1, parameters: {} },
  ],
  video: [
    h264(102, '42e01f'),
    h264(103, '42001f'),
    h264(104, '4d001f'),
    h264(105, '64001f'),
    { payloadType: 96, name: 'VP8', clockRate: 90_000, channels: 1, parameters: {} },
    { payloadType: 98, name: 'VP9', clockRate: 90_000, channels: 1, parameters: { 'profile-id': '0' } },
  ],
};

/** The packetization mode of H.264, or the profile: a decoder of one variant can't decode another. */
const variantOf = (name: string, parameters: Readonly<Record<string, string>>): string =>
  parameters[factsOf(name)?.variant ?? ''] ?? '0';

/** The answered codec that fits the offered one best, with the same name, clock rate and variant. */
export const agreedCodec = (codec: OwnCodec, answered: readonly AnsweredCodec[]): AnsweredCodec | undefined => {
  const { payloadType, parameters } = codec;
  const profile = parameters['profile-level-id'];
  const distance = (candidate: AnsweredCodec): number =>
    (candidate.payloadType === payloadType ? 0 : 1) + (candidate.parameters['profile-level-id'] === profile ? 0 : 2);
  return answered
    .filter(({ name, clockRate }) => name === codec.name && clockRate === codec.clockRate)
    .filter((each) => variantOf(codec.name, each.parameters) === variantOf(codec.name, parameters))
    .toSorted((a, b) => distance(a) - distance(b))[0];
};

/** Whether a pull offers this codec, which means that the media core can take it. */
const isReceivable = ({ name, parameters }: AnsweredCodec): boolean =>
  Object.values(RECEIVED_CODECS)
    .flat()
    .filter((offered) => offered.name === name)
    .some((offered) => name === 'H264' || variantOf(name, offered.parameters) === variantOf(name, parameters));

/** The description of a received codec for the media core; undefined for a codec that wasn't offered. */
export const receivedTrack = (codec: AnsweredCodec, ssrc: number) => {
  const { name, parameters } = codec;
  const facts = factsOf(name);
  if (facts === undefined || !isReceivable(codec)) return undefined;
  const isH264 = facts.name === 'H264';
  const described = Object.fromEntries(
    facts.parameters.flatMap((key) => (parameters[key] === undefined ? [] : [[key, parameters[key]] as const])),
  );
  return {
    payloadType: facts.payloadType,
    ssrc,
    track: {
      kind: facts.kind === 'audio' ? MediaKind.AUDIO : MediaKind.VIDEO,
      codec: facts.name,
      clockRate: facts.clockRate,
      channels: facts.kind === 'audio' ? facts.channels : 0,
      parameters: isH264
        ? { 'profile-level-id': '42e01f', ...described, 'packetization-mode': '1', 'level-asymmetry-allowed': '1' }
        : described,
    },
  };
};
