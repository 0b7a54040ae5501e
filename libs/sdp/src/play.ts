import {
  CODECS,
  commonFeedback,
  describeCodec,
  describeOffered,
  isCodecName,
  pickParameters,
  playCandidates,
} from './codec-match.js';
import {
  codecName,
  idleSection,
  hasMuxedRtcp,
  refusedSection,
  type PlaySection,
  type SendSection,
  type StreamCodec,
} from './negotiation.js';
import type { Offer, OfferedMedia } from './offer.js';
import type { RtpCodecCapability } from './rtp-parameters.js';
import { NoCommonCodecsError } from './sdp-error.js';

export interface PlayableStream {
  audio?: StreamCodec;
  video?: StreamCodec;
}

/**
 * Returns one section per m-line, in order. If the stream lacks a medium, its section is inactive, because a silent
 * `sendonly` section would keep a browser's video element from ever starting. If the stream and the player have no
 * common codec for a medium, its section is rejected and the other medium is sent (RFC 8829 §5.3.1); `notCarried` names
 * the rejected medium for people.
 * @throws NoCommonCodecsError if nothing can be sent.
 */
export function negotiatePlay(offer: Offer, stream: PlayableStream): { sections: PlaySection[]; notCarried: string[] } {
  const sent: SendSection[] = [];
  const reasons = new Map<number, string>();
  const refused: OfferedMedia[] = [];
  for (const media of offer.media) {
    const section = send(offer, media, stream, sent);
    if (typeof section !== 'string') sent.push(section);
    else {
      reasons.set(media.index, section);
      if (section === NO_COMMON_CODEC) refused.push(media);
    }
  }
  if (sent.length === 0) throw nothingToSend(offer, stream, reasons, refused);
  const sections = offer.media.map((media) => {
    const reason = reasons.get(media.index) ?? '';
    const unused = refused.includes(media) ? refusedSection : idleSection;
    return sent.find((section) => section.mediaIndex === media.index) ?? unused(offer, media, sent, reason);
  });
  const notCarried = (['audio', 'video'] as const).flatMap((kind) => {
    const codec = stream[kind];
    const isRefused = refused.some((media) => media.kind === kind) && !sent.some((section) => section.kind === kind);
    return codec && isRefused ? [`${kind} ${codecName(codec)}: the player doesn't take it`] : [];
  });
  return { sections, notCarried };
}

const NO_COMMON_CODEC = 'no common codec';

function nothingToSend(
  offer: Offer,
  stream: PlayableStream,
  reasons: ReadonlyMap<number, string>,
  refused: readonly OfferedMedia[],
): NoCommonCodecsError {
  const describe = (codecs: readonly (StreamCodec | undefined)[]) =>
    codecs.flatMap((codec) => (codec ? [describeStream(codec)] : []));
  const [first] = refused;
  if (first === undefined || first.kind === 'other') {
    const offered = offer.media.map((media) => `${media.mediaType} (${reasons.get(media.index) ?? 'unused'})`);
    return new NoCommonCodecsError('media', offered, describe([stream.audio, stream.video]));
  }
  const kinds = new Set(refused.map(({ kind }) => kind));
  return new NoCommonCodecsError(
    kinds.size === 1 ? first.kind : 'media',
    refused.flatMap((media) => describeOffered(media)),
    describe([kinds.has('audio') ? stream.audio : undefined, kinds.has('video') ? stream.video : undefined]),
  );
}

/** A returned string is the reason why the section isn't used. */
function send(
  offer: Offer,
  media: OfferedMedia,
  stream: PlayableStream,
  sent: readonly SendSection[],
): SendSection | string {
  const { kind, transportIndex } = media;
  if (kind === 'other') return 'neither audio nor video';
  if (transportIndex === undefined) return 'switched off, or not RTP';
  if (media.direction !== 'recvonly' && media.direction !== 'sendrecv') return 'the client receives nothing';
  if (!hasMuxedRtcp(offer, media)) return 'no rtcp-mux';
  const streamCodec = stream[kind];
  if (!streamCodec) return `the stream has no ${kind}`;
  if (sent.some((section) => section.kind === kind)) return `a second ${kind} section`;

  const name = codecName(streamCodec);
  const candidates = isCodecName(name) ? playCandidates(media, streamCodec, name) : [];
  // One router can't have two codecs with one payload type, but m-lines outside of BUNDLE may ask for that.
  const codec = candidates.find(
    ({ payloadType }) => !sent.some((section) => section.codec.payloadType === payloadType),
  );
  if (!codec || !isCodecName(name)) return NO_COMMON_CODEC;
  const common = {
    kind,
    mimeType: streamCodec.mimeType,
    preferredPayloadType: codec.payloadType,
    clockRate: streamCodec.clockRate,
    ...(streamCodec.channels === undefined ? {} : { channels: streamCodec.channels }),
  };
  const routerCodec: RtpCodecCapability = {
    ...common,
    parameters: pickParameters(streamCodec, CODECS[name].variant),
    rtcpFeedback: [],
  };
  const rtpCapabilities: SendSection['rtpCapabilities'] = {
    codecs: [{ ...common, parameters: routerCodec.parameters, rtcpFeedback: commonFeedback(codec, kind) }],
    headerExtensions: [],
  };
  return { tag: 'send', mediaIndex: media.index, transportIndex, kind, codec, routerCodec, rtpCapabilities };
}

function describeStream(codec: StreamCodec): string {
  return describeCodec({ name: codecName(codec), parameters: codec.parameters });
}
