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
 * One section per m-line, in order. A medium that the stream hasn't is answered inactive: a silent `sendonly` section
 * would keep a browser's video element from ever starting.
 * @throws NoCommonCodecsError when stream and player both have a medium but no codec for it in common, or when they
 * have no medium in common at all.
 */
export function negotiatePlay(offer: Offer, stream: PlayableStream): { sections: PlaySection[] } {
  const sent: SendSection[] = [];
  const reasons = new Map<number, string>();
  for (const media of offer.media) {
    const section = send(offer, media, stream, sent);
    if (typeof section === 'string') reasons.set(media.index, section);
    else sent.push(section);
  }
  if (sent.length === 0) {
    throw new NoCommonCodecsError(
      'media',
      offer.media.map((media) => `${media.mediaType} (${reasons.get(media.index) ?? 'unused'})`),
      [stream.audio, stream.video].flatMap((codec) => (codec ? [describeStream(codec)] : [])),
    );
  }
  const sections = offer.media.map(
    (media) =>
      sent.find((section) => section.mediaIndex === media.index) ??
      idleSection(media, sent, reasons.get(media.index) ?? ''),
  );
  return { sections };
}

/** A string is the reason why not. */
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
  // One router can't have two codecs under one payload type, which m-lines outside of BUNDLE may ask for.
  const codec = candidates.find(
    ({ payloadType }) => !sent.some((section) => section.codec.payloadType === payloadType),
  );
  if (!codec || !isCodecName(name)) {
    throw new NoCommonCodecsError(kind, describeOffered(media), [describeStream(streamCodec)]);
  }
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
