import { CODECS, feedbackText, isCodecName, pickParameters } from './codec-match.js';
import type { InactiveSection, ReceiveSection, RejectedSection, SendSection } from './negotiation.js';
import type { Offer, OfferedCodec, OfferedMedia } from './offer.js';
import type { CodecParameters, DtlsFingerprint, IceCandidate, IceParameters, RtcpFeedback } from './rtp-parameters.js';

/** Our end of a transport: mediasoup's WebRtcTransport has these fields. */
export interface AnsweredTransport {
  iceParameters: IceParameters;
  iceCandidates: readonly IceCandidate[];
  dtlsParameters: { fingerprints: readonly DtlsFingerprint[] };
}

/** What we send, as the consumer has it. */
export interface SentRtp {
  ssrc: number;
  cname: string;
  /** The MediaStream both media of a player belong to: the same for audio and video. */
  streamId: string;
  trackId: string;
}

export type AnswerSection = ReceiveSection | InactiveSection | RejectedSection | (SendSection & { sent: SentRtp });

/** Bits per second; 0 or undefined is unset. */
export interface BitrateBounds {
  minBps?: number;
  maxBps?: number;
}

export interface AnswerOptions {
  offer: Offer;
  /** By index of `offer.transports`. May be undefined where all of a transport's sections are rejected. */
  transports: readonly (AnsweredTransport | undefined)[];
  /** One per m-line, in order. */
  sections: readonly AnswerSection[];
  /** Told to a publisher's video encoder. */
  bitrate?: BitrateBounds;
  /** The o-line's session id: a number of up to 19 digits. */
  originId: string | number;
}

/** No space, no control character: can't end a line or an attribute's value. */
const WORD = /^[\x21-\x7e]{1,255}$/;
const IPV4 = /^\d{1,3}(?:\.\d{1,3}){3}$/;
const IPV6 = /^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*$/;

/**
 * The answer, lines ended by CRLF.
 * @throws RangeError for what can't be written, which is the caller's mistake: `parseOffer` lets nothing through that
 * this refuses.
 */
export function writeAnswer({ offer, transports, sections, bitrate = {}, originId }: AnswerOptions): string {
  if (!/^\d{1,19}$/.test(String(originId))) throw new RangeError('originId is not a number of up to 19 digits');
  if (sections.length !== offer.media.length) throw new RangeError('An answer has one section per m-line of the offer');
  const lines = ['v=0', `o=- ${originId} 2 IN IP4 127.0.0.1`, 's=-', 't=0 0', 'a=ice-lite'];
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
  return lines.map((line) => `${line}\r\n`).join('');
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
      return rejectedLines(media);
    case 'inactive': {
      const { codec, transportIndex } = section;
      return [
        ...transportLines(offer, media, transportIndex, transports, codec ? [codec.payloadType] : media.formats),
        ...(media.kind === 'other' ? dataChannelLines(media) : ['a=inactive']),
        ...(codec ? codecLines(codec, answeredParameters(codec), []) : []),
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

/** Firefox insists on the port. Nobody listens there: what comes is dropped, and the channel never opens. */
const dataChannelLines = ({ formats }: OfferedMedia): string[] =>
  formats.includes('webrtc-datachannel') ? ['a=sctp-port:5000'] : [];

function rejectedLines(media: OfferedMedia): string[] {
  return [
    `m=${word(media.mediaType)} 0 ${word(media.protocol)} ${media.formats.map(word).join(' ')}`,
    'c=IN IP4 0.0.0.0',
    ...midLine(media),
    'a=inactive',
  ];
}

function receiveLines(
  offer: Offer,
  media: OfferedMedia,
  section: ReceiveSection,
  transports: AnswerOptions['transports'],
  bitrate: BitrateBounds,
): string[] {
  const { codec, rtx, kind, rtpParameters } = section;
  const isVideo = kind === 'video';
  const payloadTypes = [codec.payloadType, ...(rtx ? [rtx.payloadType] : [])];
  const parameters = { ...answeredParameters(codec), ...(isVideo ? encoderParameters(bitrate) : {}) };
  const [mediaLine = '', connectionLine = '', ...rest] = transportLines(
    offer,
    media,
    section.transportIndex,
    transports,
    payloadTypes,
  );
  return [
    mediaLine,
    connectionLine,
    ...(isVideo ? bandwidthLines(bitrate) : []),
    ...rest,
    ...rtpParameters.headerExtensions.map(({ id, uri }) => `a=extmap:${integer(id)} ${word(uri)}`),
    'a=recvonly',
    ...codecLines(codec, parameters, rtpParameters.codecs[0]?.rtcpFeedback ?? []),
    ...(rtx ? codecLines(rtx, { apt: codec.payloadType }, []) : []),
  ];
}

function sendLines(
  offer: Offer,
  media: OfferedMedia,
  { transportIndex, codec, rtpCapabilities, sent }: SendSection & { sent: SentRtp },
  transports: AnswerOptions['transports'],
): string[] {
  const ssrc = integer(sent.ssrc);
  const msid = `${word(sent.streamId)} ${word(sent.trackId)}`;
  return [
    ...transportLines(offer, media, transportIndex, transports, [codec.payloadType]),
    'a=sendonly',
    `a=msid:${msid}`,
    ...codecLines(codec, answeredParameters(codec), rtpCapabilities.codecs[0]?.rtcpFeedback ?? []),
    `a=ssrc:${ssrc} cname:${word(sent.cname)}`,
    // For clients of the time before a=msid.
    `a=ssrc:${ssrc} msid:${msid}`,
  ];
}

/** The m-line, the c-line and what the transport has to say, which every section repeats for clients without BUNDLE. */
function transportLines(
  offer: Offer,
  media: OfferedMedia,
  transportIndex: number,
  transports: AnswerOptions['transports'],
  formats: readonly (number | string)[],
): string[] {
  const transport = transports[transportIndex];
  const remote = offer.transports[transportIndex];
  if (!transport || !remote) throw new RangeError(`Section ${media.index} is in use and has no transport`);
  const { iceParameters, iceCandidates, dtlsParameters } = transport;
  const fingerprint =
    dtlsParameters.fingerprints.find(({ algorithm }) => algorithm === 'sha-256') ?? dtlsParameters.fingerprints[0];
  if (!fingerprint) throw new RangeError('The transport has no fingerprint');
  const { port, connection } = defaultDestination(iceCandidates);
  return [
    `m=${word(media.mediaType)} ${port} ${word(media.protocol)} ${formats.map((format) => word(String(format))).join(' ')}`,
    `c=IN ${connection}`,
    ...midLine(media),
    `a=ice-ufrag:${word(iceParameters.usernameFragment)}`,
    `a=ice-pwd:${word(iceParameters.password)}`,
    `a=fingerprint:${word(fingerprint.algorithm)} ${word(fingerprint.value)}`,
    `a=setup:${remote.dtlsParameters.role === 'client' ? 'passive' : 'active'}`,
    ...iceCandidates.map(candidateLine),
    'a=end-of-candidates',
    'a=rtcp-mux',
    ...(media.rtcpReducedSize ? ['a=rtcp-rsize'] : []),
  ];
}

function midLine({ mid }: OfferedMedia): string[] {
  return mid === undefined ? [] : [`a=mid:${word(mid)}`];
}

/** For clients that look there; ICE decides. Port 9 and 0.0.0.0 where no UDP address can be named (RFC 8839). */
function defaultDestination(candidates: readonly IceCandidate[]): { port: number; connection: string } {
  for (const { protocol, address, port } of candidates) {
    if (protocol !== 'udp') continue;
    if (IPV4.test(address)) return { port: integer(port), connection: `IP4 ${address}` };
    if (IPV6.test(address)) return { port: integer(port), connection: `IP6 ${address}` };
  }
  return { port: 9, connection: 'IP4 0.0.0.0' };
}

function candidateLine({ foundation, protocol, priority, address, port, type, tcpType }: IceCandidate): string {
  const transport = `${word(protocol)} ${integer(priority)} ${word(address)} ${integer(port)}`;
  return `a=candidate:${word(foundation)} 1 ${transport} typ ${word(type)}${tcpType ? ` tcptype ${word(tcpType)}` : ''}`;
}

/** fmtp directly after rtpmap: the WebSDK edits the line that follows the rtpmap. */
function codecLines(codec: OfferedCodec, parameters: CodecParameters, feedback: readonly RtcpFeedback[]): string[] {
  const payloadType = integer(codec.payloadType);
  const channels = codec.channels === undefined || codec.channels === 1 ? '' : `/${integer(codec.channels)}`;
  const values = Object.entries(parameters).map(([name, value]) => `${word(name)}=${word(String(value))}`);
  return [
    `a=rtpmap:${payloadType} ${word(codec.name)}/${integer(codec.clockRate)}${channels}`,
    ...(values.length > 0 ? [`a=fmtp:${payloadType} ${values.join(';')}`] : []),
    ...feedback.map((item) => `a=rtcp-fb:${payloadType} ${feedbackText(item).split(' ').map(word).join(' ')}`),
  ];
}

function answeredParameters(codec: OfferedCodec): CodecParameters {
  return isCodecName(codec.name) ? pickParameters(codec, CODECS[codec.name].parameters) : {};
}

/**
 * Where a publisher's encoder begins. Left to themselves, Chromium and Safari begin at 300 kbit/s, which is at the edge
 * of what they scale a 640 × 480 picture down for: every other stream would have half its size for the first seconds.
 */
const START_BITRATE_BPS = 800_000;

/**
 * Chromium's and Safari's own parameters, kbit/s. The WebSDK would append the bounds itself, but it does so behind the
 * line's carriage return; finding them there it leaves the line alone.
 */
function encoderParameters({ minBps = 0, maxBps = 0 }: BitrateBounds): CodecParameters {
  const startBps = Math.min(Math.max(START_BITRATE_BPS, minBps), maxBps > 0 ? maxBps : Number.POSITIVE_INFINITY);
  return {
    ...(minBps > 0 ? { 'x-google-min-bitrate': kilobits(minBps) } : {}),
    'x-google-start-bitrate': kilobits(startBps),
    ...(maxBps > 0 ? { 'x-google-max-bitrate': kilobits(maxBps) } : {}),
  };
}

/** TIAS is what the encoder may use (RFC 3890); AS, with its share for the headers, is for those who know only it. */
function bandwidthLines({ maxBps = 0 }: BitrateBounds): string[] {
  return maxBps > 0 ? [`b=AS:${kilobits(maxBps)}`, `b=TIAS:${integer(Math.round(maxBps))}`] : [];
}

function kilobits(bps: number): number {
  return Math.max(1, integer(Math.round(bps / 1000)));
}

function word(text: string): string {
  if (!WORD.test(text)) throw new RangeError('A value with a space or a control character does not go into an answer');
  return text;
}

function integer(value: number): number {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError('A number of the answer is not a whole one');
  return value;
}
