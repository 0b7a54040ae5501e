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
import { OFFER_LIMITS, type Offer, type OfferedMedia } from './offer.js';
import type { RtpCodecCapability } from './rtp-parameters.js';
import { NoCommonCodecsError } from './sdp-error.js';

export interface PlayableStream {
  audio?: StreamCodec;
  video?: StreamCodec;
}

/**
 * Returns one section per m-line, in order. Each medium goes to the first section that can carry it, those of `further`
 * streams after those of `stream`. If the stream lacks a medium, its section is inactive, because a silent
 * `sendonly` section would keep a browser's video element from ever starting. If the stream and the player have no
 * common codec for a medium, its section is rejected and the other medium is sent (RFC 8829 §5.3.1); `notCarried` names
 * the rejected medium for people.
 * @throws NoCommonCodecsError if nothing can be sent.
 */
export function negotiatePlay(
  offer: Offer,
  stream: PlayableStream,
  further: readonly PlayableStream[] = [],
): { sections: PlaySection[]; notCarried: string[] } {
  const sent: SendSection[] = [];
  const reasons = new Map<number, string>();
  const refused: OfferedMedia[] = [];
  for (const media of offer.media) {
    const section = send(offer, media, [stream, ...further], sent);
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
  streams: readonly PlayableStream[],
  sent: readonly SendSection[],
): SendSection | string {
  const { kind, transportIndex } = media;
  if (kind === 'other') return 'neither audio nor video';
  if (transportIndex === undefined) return 'switched off, or not RTP';
  if (media.direction !== 'recvonly' && media.direction !== 'sendrecv') return 'the client receives nothing';
  if (!hasMuxedRtcp(offer, media)) return 'no rtcp-mux';
  if (streams.every((stream) => stream[kind] === undefined)) return `the stream has no ${kind}`;
  const isSent = (index: number) => sent.some((section) => section.kind === kind && section.streamIndex === index);
  const unsent = [...streams.entries()].filter(([index, stream]) => stream[kind] !== undefined && !isSent(index));
  if (unsent.length === 0) return `a second ${kind} section`;
  for (const [streamIndex, { [kind]: codec }] of unsent) {
    const section = codec && sendSection(media, { kind, transportIndex, streamIndex }, codec, sent);
    if (section !== undefined) return section;
  }
  return NO_COMMON_CODEC;
}

export function sendSection(
  media: OfferedMedia,
  { kind, transportIndex, streamIndex }: Pick<SendSection, 'kind' | 'transportIndex' | 'streamIndex'>,
  streamCodec: StreamCodec,
  sent: readonly SendSection[],
): SendSection | undefined {
  const name = codecName(streamCodec);
  if (!isCodecName(name)) return undefined;
  // One router can't have two codecs with one payload type, but different m-lines may ask for that.
  const isTaken = (payloadType: number) =>
    sent.some(
      (section) =>
        section.codec.payloadType === payloadType &&
        describeStream(section.routerCodec) !== describeStream(streamCodec),
    );
  const codec = playCandidates(media, streamCodec, name).find(({ payloadType }) => !isTaken(payloadType));
  if (codec === undefined) return undefined;
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
  const placed = { mediaIndex: media.index, transportIndex, kind, streamIndex };
  return { tag: 'send', ...placed, codec, routerCodec, rtpCapabilities };
}

/** Where a further medium goes, in a later offer of weir's. */
export interface FurtherSection {
  readonly section: SendSection;
  /** The offer on which the session stands from now on: with one more section if none was free. */
  readonly offer: Offer;
}

/**
 * Finds a section for a medium that begins while the session lives: an inactive one of the client's, or a new one like one
 * of the client's. Returns undefined if the client can't get it.
 */
export function negotiateFurther(
  offer: Offer,
  sections: readonly PlaySection[],
  { kind, codec, streamIndex }: { kind: 'audio' | 'video'; codec: StreamCodec; streamIndex: number },
): FurtherSection | undefined {
  const sent = sections.filter((section) => section.tag === 'send');
  for (const media of offer.media) {
    if (media.kind !== kind || sections[media.index]?.tag !== 'inactive') continue;
    const section = sendTo(offer, media);
    if (section !== undefined) return { section, offer };
  }
  const like = offer.media.find((media) => media.kind === kind && isBundled(offer, media, sections[media.index]));
  if (like === undefined || offer.media.length >= OFFER_LIMITS.mediaSections) return undefined;
  const extended = withSectionLike(offer, like);
  const added = extended.media.at(-1);
  const section = added && sendTo(extended, added);
  return section && { section, offer: extended };

  function sendTo(within: Offer, media: OfferedMedia): SendSection | undefined {
    const { transportIndex } = media;
    const isReceiver = media.direction === 'recvonly' || media.direction === 'sendrecv';
    if (transportIndex === undefined || !isReceiver || !hasMuxedRtcp(within, media)) return undefined;
    return sendSection(media, { kind, transportIndex, streamIndex }, codec, sent);
  }
}

/** Another section like it then needs no transport of its own. */
const isBundled = (offer: Offer, { transportIndex }: OfferedMedia, section: PlaySection | undefined): boolean =>
  section !== undefined &&
  section.tag !== 'rejected' &&
  transportIndex !== undefined &&
  offer.transports[transportIndex]?.bundled === true;

function withSectionLike(offer: Offer, like: OfferedMedia): Offer {
  const index = offer.media.length;
  const mid = `weir${index}`;
  const media: OfferedMedia = { ...like, index, mid, ssrcs: [], direction: 'recvonly' };
  return {
    media: [...offer.media, media],
    bundleGroups: offer.bundleGroups.map((mids) =>
      like.mid !== undefined && mids.includes(like.mid) ? [...mids, mid] : mids,
    ),
    transports: offer.transports.map((transport, at) =>
      at === like.transportIndex ? { ...transport, mediaIndexes: [...transport.mediaIndexes, index] } : transport,
    ),
  };
}

function describeStream(codec: Pick<StreamCodec, 'mimeType' | 'parameters'>): string {
  return describeCodec({ name: codecName(codec), parameters: codec.parameters });
}
