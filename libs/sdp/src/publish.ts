import { CODECS, commonFeedback, describeOffered, pickParameters, publishCandidates } from './codec-match.js';
import {
  type AudioCodecName,
  type CodecName,
  idleSection,
  hasMuxedRtcp,
  type PublishSection,
  type ReceiveSection,
  type RejectedSection,
  type VideoCodecName,
} from './negotiation.js';
import type { Offer, OfferedCodec, OfferedMedia } from './offer.js';
import {
  ABS_SEND_TIME_URI,
  type HeaderExtensionUri,
  type MediaKind,
  type RtpCodecCapability,
  type RtpEncodingParameters,
  type RtpHeaderExtensionParameters,
} from './rtp-parameters.js';
import { NoCommonCodecsError, SdpError } from './sdp-error.js';

export interface PublishPreferences {
  /** Best first. Codecs that aren't listed are refused. */
  videoCodecs?: readonly VideoCodecName[];
  audioCodecs?: readonly AudioCodecName[];
  /** How many video sections are received; 1 by default. */
  videos?: number;
  /** What an earlier offer of the same session has led to. */
  earlier?: {
    /** The codecs of the router that the session is on. */
    routerCodecs: readonly RtpCodecCapability[];
  };
}

export const DEFAULT_VIDEO_CODECS: readonly VideoCodecName[] = ['H264', 'VP8', 'VP9', 'AV1'];
export const DEFAULT_AUDIO_CODECS: readonly AudioCodecName[] = ['opus', 'PCMU', 'PCMA', 'G722'];

const TRANSPORT_CC = 'http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01';

/**
 * The header extensions that are negotiated. Others are left out on purpose. Without `video-orientation`, a sender
 * rotates the picture itself, so that every player, file and HLS segment shows it correctly. `abs-capture-time` makes
 * mediasoup wait for something that browsers never send. `rtp-stream-id` would allow simulcast, but a stream has one
 * size for all outputs.
 */
const HEADER_EXTENSIONS: Record<MediaKind, readonly HeaderExtensionUri[]> = {
  audio: [
    'urn:ietf:params:rtp-hdrext:sdes:mid',
    ABS_SEND_TIME_URI,
    TRANSPORT_CC,
    'urn:ietf:params:rtp-hdrext:ssrc-audio-level',
  ],
  video: ['urn:ietf:params:rtp-hdrext:sdes:mid', ABS_SEND_TIME_URI, TRANSPORT_CC],
};

/** mediasoup uses it to find AV1's key frames, and forwards nothing to a new player without it. */
const AV1_DEPENDENCY_DESCRIPTOR: HeaderExtensionUri =
  'https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension';

/**
 * Returns one section per m-line, in order. At most one audio section and `videos` video sections are received;
 * `notCarried` names, for people, what else the client would send. In a later offer of a session the client may send
 * nothing.
 * @throws NoCommonCodecsError if the client sends media, but none of it in a preferred codec.
 * @throws SdpError `unsupported` if it sends nothing, or only in a way that can't be received.
 */
export function negotiatePublish(
  offer: Offer,
  preferences: PublishPreferences = {},
): { sections: PublishSection[]; notCarried: string[] } {
  const preferred: Record<MediaKind, readonly CodecName[]> = {
    audio: preferences.audioCodecs ?? DEFAULT_AUDIO_CODECS,
    video: preferences.videoCodecs ?? DEFAULT_VIDEO_CODECS,
  };
  const { videos = 1, earlier } = preferences;
  const limits: Limits = { audio: 1, video: videos, routerCodecs: earlier?.routerCodecs ?? [] };
  const received: ReceiveSection[] = [];
  const refused: { media: OfferedMedia; kind: MediaKind }[] = [];
  const reasons = new Map<number, string>();
  for (const media of offer.media) {
    const section = receive(offer, media, preferred, received, limits);
    if (section.tag === 'receive') received.push(section);
    else reasons.set(media.index, section.reason);
    if (section.tag === 'rejected' && section.reason === NO_COMMON_CODEC && media.kind !== 'other') {
      refused.push({ media, kind: media.kind });
    }
  }
  const [first] = refused;
  if (received.length === 0 && first) {
    const kinds = new Set(refused.map(({ kind }) => kind));
    throw new NoCommonCodecsError(
      kinds.size === 1 ? first.kind : 'media',
      refused.flatMap(({ media }) => describeOffered(media)),
      [...kinds].flatMap((kind) => [...preferred[kind]]),
    );
  }
  if (received.length === 0 && earlier === undefined) {
    throw new SdpError('unsupported', `Nothing can be received: ${[...new Set(reasons.values())].join('; ')}`);
  }
  const used =
    received.length > 0 ? received : offer.transports.map((_transport, transportIndex) => ({ transportIndex }));
  const sections = offer.media.map(
    (media) =>
      received.find((section) => section.mediaIndex === media.index) ??
      idleSection(offer, media, used, reasons.get(media.index) ?? ''),
  );
  const notCarried = offer.media.flatMap((media) => {
    const reason = reasons.get(media.index);
    const isSent = media.kind !== 'other' && media.transportIndex !== undefined && sends(media);
    return isSent && reason !== undefined ? [`${media.kind} ${media.codecs[0]?.name ?? ''}: ${reason}`] : [];
  });
  return { sections, notCarried };
}

/** The most sections of each kind, and the codecs that the session's router has. */
type Limits = Record<MediaKind, number> & { routerCodecs: readonly RtpCodecCapability[] };

const NO_COMMON_CODEC = 'no common codec';
const sends = ({ direction }: OfferedMedia): boolean => direction === 'sendonly' || direction === 'sendrecv';
const isMid = ({ uri }: { uri: string }): boolean => uri === 'urn:ietf:params:rtp-hdrext:sdes:mid';

function receive(
  offer: Offer,
  media: OfferedMedia,
  preferred: Record<MediaKind, readonly CodecName[]>,
  received: readonly ReceiveSection[],
  limits: Limits,
): ReceiveSection | RejectedSection {
  const reject = (reason: string): RejectedSection => ({ tag: 'rejected', mediaIndex: media.index, reason });
  const { kind, transportIndex } = media;
  if (kind === 'other') return reject('neither audio nor video');
  if (transportIndex === undefined) return reject('switched off, or not RTP');
  if (!sends(media)) return reject('the client sends nothing');
  if (!hasMuxedRtcp(offer, media)) return reject('no rtcp-mux');
  if (received.filter((section) => section.kind === kind).length >= limits[kind])
    return reject(
      limits[kind] === 1 ? `a second ${kind} section` : `only ${limits[kind]} ${kind} sections are received`,
    );
  const name = preferred[kind].find((candidate) => publishCandidates(media, candidate).length > 0);
  const codec = name && publishCandidates(media, name)[0];
  if (!name || !codec) return reject(NO_COMMON_CODEC);

  const headerExtensions = commonHeaderExtensions(media, kind, name);
  const isStray = media.ssrcs.length === 0 && !(media.mid !== undefined && headerExtensions.some(isMid));
  const isSame = (other: ReceiveSection) =>
    other.isStray && other.transportIndex === transportIndex && other.codec.payloadType === codec.payloadType;
  if (isStray && received.some(isSame)) {
    throw new SdpError(
      'unsupported',
      `Nothing tells audio from video: both have payload type ${codec.payloadType} on one transport; ` +
        'offer a=ssrc, the mid header extension or another payload type',
    );
  }
  // Retransmissions couldn't be distinguished from other packets.
  const rtx = isStray
    ? undefined
    : media.codecs.find((other) => other.name === 'rtx' && other.parameters['apt'] === codec.payloadType);
  const congestion = headerExtensions.some((extension) => extension.uri === TRANSPORT_CC)
    ? ['transport-cc']
    : headerExtensions.some((extension) => extension.uri === ABS_SEND_TIME_URI)
      ? ['goog-remb']
      : [];
  const facts = CODECS[name];
  const mimeType = `${kind}/${name}`;
  const channels = facts.channels === undefined ? {} : { channels: facts.channels };
  const parameters = pickParameters(codec, facts.parameters);
  const cname = media.ssrcs.find((ssrc) => ssrc.cname !== undefined)?.cname;
  return {
    tag: 'receive',
    mediaIndex: media.index,
    transportIndex,
    kind,
    codec,
    ...(rtx ? { rtx } : {}),
    isStray,
    rtpParameters: {
      ...(media.mid === undefined ? {} : { mid: media.mid }),
      codecs: [
        {
          mimeType,
          payloadType: codec.payloadType,
          clockRate: facts.clockRate,
          ...channels,
          parameters,
          rtcpFeedback: commonFeedback(codec, kind, congestion),
        },
        ...(rtx ? [rtxParameters(rtx, codec, kind)] : []),
      ],
      headerExtensions,
      encodings: [encodingOf(media, codec, rtx !== undefined)],
      rtcp: { ...(cname === undefined ? {} : { cname }), reducedSize: true },
    },
    routerCodec: routerCodecFor(
      {
        kind,
        mimeType,
        preferredPayloadType: codec.payloadType,
        clockRate: facts.clockRate,
        ...channels,
        parameters: pickParameters(codec, facts.variant),
        rtcpFeedback: [],
      },
      [...limits.routerCodecs, ...received.map((section) => section.routerCodec)],
    ),
    streamCodec: { kind, mimeType, clockRate: facts.clockRate, ...channels, parameters },
  };
}

function rtxParameters(rtx: OfferedCodec, codec: OfferedCodec, kind: MediaKind) {
  return {
    mimeType: `${kind}/rtx`,
    payloadType: rtx.payloadType,
    clockRate: codec.clockRate,
    parameters: { apt: codec.payloadType },
    rtcpFeedback: [],
  };
}

/** Accepts only ids of the one-byte form; if an id or a URI occurs twice, the first one counts. */
function commonHeaderExtensions(media: OfferedMedia, kind: MediaKind, name: CodecName): RtpHeaderExtensionParameters[] {
  const wanted = name === 'AV1' ? [...HEADER_EXTENSIONS[kind], AV1_DEPENDENCY_DESCRIPTOR] : HEADER_EXTENSIONS[kind];
  const chosen: RtpHeaderExtensionParameters[] = [];
  for (const { id, uri: offered } of media.headerExtensions) {
    const uri = wanted.find((candidate) => candidate === offered);
    if (uri === undefined || id < 1 || id > 14) continue;
    if (chosen.some((extension) => extension.id === id || extension.uri === uri)) continue;
    chosen.push({ uri, id });
  }
  return chosen;
}

/** Uses the first SSRC. In legacy simulcast (ssrc-group SIM), this is the layer that is always sent. */
function encodingOf(media: OfferedMedia, codec: OfferedCodec, hasRtx: boolean): RtpEncodingParameters {
  const [first] = media.ssrcs;
  return {
    ...(first ? { ssrc: first.ssrc } : {}),
    ...(first?.rtxSsrc !== undefined && hasRtx ? { rtx: { ssrc: first.rtxSsrc } } : {}),
    ...(codec.parameters['usedtx'] === 1 ? { dtx: true } : {}),
  };
}

/**
 * Returns the router's own codec if it has this one. Otherwise the codec keeps the client's payload type, unless another
 * codec has that, which is possible without BUNDLE and in a later offer. Any other will do, because mediasoup maps a
 * producer's payload types.
 */
function routerCodecFor(codec: RtpCodecCapability, present: readonly RtpCodecCapability[]): RtpCodecCapability {
  const own = present.find(
    ({ mimeType, parameters }) =>
      mimeType === codec.mimeType &&
      Object.keys({ ...parameters, ...codec.parameters }).every((name) => parameters[name] === codec.parameters[name]),
  );
  if (own !== undefined) return own;
  const taken = new Set(present.map(({ preferredPayloadType }) => preferredPayloadType));
  let payloadType = codec.preferredPayloadType;
  while (taken.has(payloadType)) payloadType = payloadType >= 96 && payloadType < 127 ? payloadType + 1 : 96;
  return { ...codec, preferredPayloadType: payloadType };
}
