import { CODECS, feedbackText, isCodecName, pickParameters } from './codec-match.js';
import {
  candidateLine,
  codecLines,
  descriptionOf,
  mediaLine,
  sessionLines,
  ssrcLines,
  transportLines,
  wholeNumber,
  word,
} from './lines.js';
import type { InactiveSection, ReceiveSection, RejectedSection, SendSection } from './negotiation.js';
import type { Offer, OfferedCodec, OfferedMedia } from './offer.js';
import type { CodecParameters, DtlsFingerprint, IceCandidate, IceParameters } from './rtp-parameters.js';

/** weir's end of a transport: mediasoup's WebRtcTransport has these fields. */
export interface AnsweredTransport {
  iceParameters: IceParameters;
  iceCandidates: readonly IceCandidate[];
  dtlsParameters: { fingerprints: readonly DtlsFingerprint[] };
}

/** What weir sends; the values come from the consumer. */
export interface SentRtp {
  /** Undefined for media that begin later: the client then knows them by their payload type. */
  ssrc?: number;
  cname: string;
  /** The MediaStream that both media of a player belong to: the same for audio and video. */
  streamId: string;
  trackId: string;
}

export type AnswerSection =
  (ReceiveSection & { sent?: SentRtp }) | InactiveSection | RejectedSection | (SendSection & { sent: SentRtp });

/** Bits per second; 0 and undefined mean unset. */
export interface BitrateBounds {
  minBps?: number;
  maxBps?: number;
}

export interface AnswerOptions {
  offer: Offer;
  /** Indexed like `offer.transports`. An element may be undefined if all sections of that transport are rejected. */
  transports: readonly (AnsweredTransport | undefined)[];
  /** One per m-line, in order. */
  sections: readonly AnswerSection[];
  /** Sent to a publisher's video encoder. */
  bitrate?: BitrateBounds;
  /** Session id of the o-line: a number of up to 19 digits. */
  originId: string | number;
  /** Counts the answers of one session, from 2 by default. */
  version?: number;
}

const IPV4 = /^\d{1,3}(?:\.\d{1,3}){3}$/;
const IPV6 = /^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*$/;

/**
 * Returns the answer, with lines ended by CRLF. A later offer of weir's on the same session has the same form: each side
 * keeps its role.
 * @throws RangeError for values that can't be written. This is the caller's mistake, because `parseOffer` accepts
 *   nothing that this function refuses.
 */
export function writeAnswer(options: AnswerOptions): string {
  const { offer, transports, sections, bitrate = {}, originId, version = 2 } = options;
  if (sections.length !== offer.media.length) throw new RangeError('An answer has one section per m-line of the offer');
  const lines = [...sessionLines({ id: originId, version, address: '127.0.0.1' }), 'a=ice-lite'];
  const used = new Set(sections.filter(({ tag }) => tag !== 'rejected').map(({ mediaIndex }) => mediaIndex));
  for (const mids of offer.bundleGroups) {
    const kept = mids.filter((mid) => offer.media.some((media) => media.mid === mid && used.has(media.index)));
    if (kept.length > 0) lines.push(`a=group:BUNDLE ${kept.map(word).join(' ')}`);
  }
  lines.push('a=msid-semantic: WMS *');
  for (const [index, section] of sections.entries()) {
    const media = offer.media[index];
    if (!media || section.mediaIndex !== index)
      throw new RangeError('The sections are not in the order of the m-lines');
    lines.push(...sectionLines(offer, media, section, transports, bitrate));
  }
  return descriptionOf(lines);
}

function sectionLines(
  offer: Offer,
  media: OfferedMedia,
  section: AnswerSection,
  transports: AnswerOptions['transports'],
  bitrate: BitrateBounds,
): string[] {
  switch (section.tag) {
    case 'rejected':
      return rejectedLines(offer, media, transports);
    case 'inactive': {
      const { codec, transportIndex } = section;
      return [
        ...headLines(offer, media, transportIndex, transports, codec ? [codec.payloadType] : media.formats),
        ...(media.kind === 'other' ? dataChannelLines(media) : ['a=inactive']),
        ...(codec ? codecLines({ ...codec, parameters: answeredParameters(codec) }) : []),
      ];
    }
    case 'receive':
      return receiveLines(offer, media, section, transports, bitrate);
    case 'send':
      return sendLines(offer, media, section, transports);
    default:
      return section satisfies never;
  }
}

/** Firefox insists on the port. Nothing listens there: incoming data is dropped, and the channel never opens. */
const dataChannelLines = ({ formats }: OfferedMedia): string[] =>
  formats.includes('webrtc-datachannel') ? ['a=sctp-port:5000'] : [];

/** GStreamer's webrtcbin refuses an answer in which any section lacks ICE credentials or a DTLS role, even a rejected one. */
function rejectedLines(offer: Offer, media: OfferedMedia, transports: AnswerOptions['transports']): string[] {
  const anyTransport = transports.findIndex((transport) => transport !== undefined);
  return [
    mediaLine(media.mediaType, 0, media.protocol, media.formats),
    'c=IN IP4 0.0.0.0',
    ...midLine(media),
    ...(anyTransport === -1 ? [] : securityLines(offer, anyTransport, transports)),
    'a=inactive',
  ];
}

function receiveLines(
  offer: Offer,
  media: OfferedMedia,
  section: ReceiveSection & { sent?: SentRtp },
  transports: AnswerOptions['transports'],
  bitrate: BitrateBounds,
): string[] {
  const { codec, rtx, kind, rtpParameters, sent } = section;
  const isVideo = kind === 'video';
  const payloadTypes = [codec.payloadType, ...(rtx ? [rtx.payloadType] : [])];
  const parameters = { ...answeredParameters(codec), ...(isVideo ? encoderParameters(bitrate) : {}) };
  const bandwidth = isVideo ? bandwidthLines(bitrate) : [];
  return [
    ...headLines(offer, media, section.transportIndex, transports, payloadTypes, bandwidth),
    ...rtpParameters.headerExtensions.map(({ id, uri }) => `a=extmap:${wholeNumber(id)} ${word(uri)}`),
    ...(sent === undefined ? ['a=recvonly'] : ['a=sendrecv', `a=msid:${msidOf(sent)}`]),
    ...codecLines({ ...codec, parameters }, rtpParameters.codecs[0]?.rtcpFeedback.map(feedbackText)),
    ...(rtx ? codecLines({ ...rtx, parameters: { apt: codec.payloadType } }) : []),
    ...(sent?.ssrc === undefined ? [] : ssrcLines(sent.ssrc, sent.cname, msidOf(sent))),
  ];
}

function sendLines(
  offer: Offer,
  media: OfferedMedia,
  { transportIndex, codec, rtpCapabilities, sent }: SendSection & { sent: SentRtp },
  transports: AnswerOptions['transports'],
): string[] {
  const msid = msidOf(sent);
  return [
    ...headLines(offer, media, transportIndex, transports, [codec.payloadType]),
    'a=sendonly',
    `a=msid:${msid}`,
    ...codecLines(
      { ...codec, parameters: answeredParameters(codec) },
      rtpCapabilities.codecs[0]?.rtcpFeedback.map(feedbackText),
    ),
    ...(sent.ssrc === undefined ? [] : ssrcLines(sent.ssrc, sent.cname, msid)),
  ];
}

const msidOf = ({ streamId, trackId }: SentRtp): string => `${word(streamId)} ${word(trackId)}`;

/** The m-line, the c-line and the transport's attributes, which every section repeats for clients without BUNDLE. */
function headLines(
  offer: Offer,
  media: OfferedMedia,
  transportIndex: number,
  transports: AnswerOptions['transports'],
  formats: readonly (number | string)[],
  bandwidth: readonly string[] = [],
): string[] {
  const transport = transports[transportIndex];
  if (!transport) throw new RangeError(`Section ${media.index} is in use and has no transport`);
  const { iceCandidates } = transport;
  const { port, connection } = defaultDestination(iceCandidates);
  return [
    mediaLine(media.mediaType, port, media.protocol, formats),
    `c=IN ${connection}`,
    ...bandwidth,
    ...midLine(media),
    ...securityLines(offer, transportIndex, transports),
    ...iceCandidates.map(candidateLine),
    'a=end-of-candidates',
    'a=rtcp-mux',
    ...(media.rtcpReducedSize ? ['a=rtcp-rsize'] : []),
  ];
}

/** The ICE credentials, the fingerprint and the DTLS role of a transport. */
function securityLines(offer: Offer, transportIndex: number, transports: AnswerOptions['transports']): string[] {
  const transport = transports[transportIndex];
  const remote = offer.transports[transportIndex];
  if (!transport || !remote) throw new RangeError(`There is no transport ${transportIndex}`);
  const { iceParameters, dtlsParameters } = transport;
  const fingerprint =
    dtlsParameters.fingerprints.find(({ algorithm }) => algorithm === 'sha-256') ?? dtlsParameters.fingerprints[0];
  if (!fingerprint) throw new RangeError('The transport has no fingerprint');
  const setup = remote.dtlsParameters.role === 'client' ? 'passive' : 'active';
  return transportLines({ ...iceParameters, fingerprint, setup });
}

function midLine({ mid }: OfferedMedia): string[] {
  return mid === undefined ? [] : [`a=mid:${word(mid)}`];
}

/**
 * For clients that read these fields, although ICE decides. It is port 9 and 0.0.0.0 if there is no UDP address (RFC
 * 8839).
 */
function defaultDestination(candidates: readonly IceCandidate[]): { port: number; connection: string } {
  for (const { protocol, address, port } of candidates) {
    if (protocol !== 'udp') continue;
    if (IPV4.test(address)) return { port: wholeNumber(port), connection: `IP4 ${address}` };
    if (IPV6.test(address)) return { port: wholeNumber(port), connection: `IP6 ${address}` };
  }
  return { port: 9, connection: 'IP4 0.0.0.0' };
}

function answeredParameters(codec: OfferedCodec): CodecParameters {
  return isCodecName(codec.name) ? pickParameters(codec, CODECS[codec.name].parameters) : {};
}

/**
 * The bit rate at which a publisher's encoder starts. By default, Chromium and Safari start at 300 kbit/s, which is
 * close to where they scale a 640 × 480 picture down. Every other stream would then have half its size for the first
 * seconds.
 */
const START_BITRATE_BPS = 800_000;

/**
 * Parameters that only Chromium and Safari know, in kbit/s. Without them the WebSDK appends the bounds itself, but
 * after the line's carriage return. If it finds them, it leaves the line unchanged.
 */
function encoderParameters({ minBps = 0, maxBps = 0 }: BitrateBounds): CodecParameters {
  const startBps = Math.min(Math.max(START_BITRATE_BPS, minBps), maxBps > 0 ? maxBps : Number.POSITIVE_INFINITY);
  return {
    ...(minBps > 0 ? { 'x-google-min-bitrate': kilobits(minBps) } : {}),
    'x-google-start-bitrate': kilobits(startBps),
    ...(maxBps > 0 ? { 'x-google-max-bitrate': kilobits(maxBps) } : {}),
  };
}

/** TIAS is the encoder's limit (RFC 3890). AS includes the headers and is for clients that know only AS. */
function bandwidthLines({ maxBps = 0 }: BitrateBounds): string[] {
  return maxBps > 0 ? [`b=AS:${kilobits(maxBps)}`, `b=TIAS:${wholeNumber(Math.round(maxBps))}`] : [];
}

function kilobits(bps: number): number {
  return Math.max(1, wholeNumber(Math.round(bps / 1000)));
}
