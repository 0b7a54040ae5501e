import type { CodecParameters, DtlsFingerprint, DtlsRole, IceParameters, RtcpFeedback } from './rtp-parameters.js';
import { SdpError } from './sdp-error.js';
import { FINGERPRINT_BYTES, readLines, type Section, type Session, type TransportAttributes } from './sdp-lines.js';

export { OFFER_LIMITS } from './sdp-lines.js';

export type Direction = 'sendrecv' | 'sendonly' | 'recvonly' | 'inactive';

/** One codec of an m-line: rtpmap, fmtp and rtcp-fb joined. Every string is safe to write into an SDP line. */
export interface OfferedCodec {
  payloadType: number;
  /** In the spelling of its registration where known: `opus`, `PCMU`, `H264`, `VP8`, `rtx`. */
  name: string;
  clockRate: number;
  /** Audio only. */
  channels?: number;
  parameters: CodecParameters;
  rtcpFeedback: RtcpFeedback[];
}

export interface OfferedHeaderExtension {
  id: number;
  uri: string;
}

export interface OfferedSsrc {
  ssrc: number;
  cname?: string;
  /** The SSRC of its retransmissions (ssrc-group FID). */
  rtxSsrc?: number;
}

/** An m-line. */
export interface OfferedMedia {
  index: number;
  mid?: string;
  kind: 'audio' | 'video' | 'other';
  /** The m-line's media word and formats, for the echo of a rejected section. */
  mediaType: string;
  formats: string[];
  protocol: string;
  /** False: port 0 without bundle-only, i.e. the client itself has the section switched off. */
  enabled: boolean;
  direction: Direction;
  codecs: OfferedCodec[];
  headerExtensions: OfferedHeaderExtension[];
  /** Primary SSRCs, in order of appearance. Those of retransmissions and FEC are folded in or left out. */
  ssrcs: OfferedSsrc[];
  rtcpMux: boolean;
  rtcpReducedSize: boolean;
  /** Into `Offer.transports`; undefined for a section that can only be rejected (no RTP, or disabled). */
  transportIndex?: number;
}

/** One ICE/DTLS transport: a BUNDLE group or an m-line outside of any. */
export interface TransportOffer {
  /** The client's; mediasoup, being ICE-lite, doesn't need them. */
  iceParameters: IceParameters;
  /** For `WebRtcTransport.connect()`: `role` is the client's part in the DTLS handshake. */
  dtlsParameters: { role: DtlsRole; fingerprints: DtlsFingerprint[] };
  /** Into `Offer.media`; audio and video only. */
  mediaIndexes: number[];
  bundled: boolean;
}

export interface Offer {
  transports: TransportOffer[];
  media: OfferedMedia[];
  /** The mids of each BUNDLE group as offered, without those that no m-line has. */
  bundleGroups: string[][];
}

const RTP_PROTOCOL = /^(?:(?:UDP|TCP)\/(?:TLS|DTLS)\/)?RTP\/S?AVPF?$/i;

/** Payload types that need no rtpmap (RFC 3551). */
const STATIC_CODECS = new Map<number, Pick<OfferedCodec, 'name' | 'clockRate'>>([
  [0, { name: 'PCMU', clockRate: 8000 }],
  [8, { name: 'PCMA', clockRate: 8000 }],
  [9, { name: 'G722', clockRate: 8000 }],
]);

/**
 * Reads a client's offer. What isn't understood is skipped; what is kept is checked, so that it may be written into
 * an answer as it is.
 * @throws SdpError and nothing else, whatever the text.
 */
export function parseOffer(sdp: string): Offer {
  const { session, sections } = readLines(sdp);
  if (sections.length === 0) throw new SdpError('no-media', 'The offer has no media section');
  checkUnique(sections);
  const media = sections.map((section, index) => toMedia(section, session, index));
  const offer: Offer = { transports: [], media, bundleGroups: knownGroups(session.bundleGroups, media) };
  addTransports(offer, session, sections);
  if (!media.some((section) => section.kind !== 'other')) {
    throw new SdpError('no-media', 'The offer has neither audio nor video');
  }
  if (offer.transports.length === 0) {
    throw new SdpError('unsupported', 'No audio or video section of the offer is switched on and RTP');
  }
  return offer;
}

/** Mids and SSRCs name one section each: mediasoup would mix the sections up, or throw. */
function checkUnique(sections: readonly Section[]): void {
  const mids = sections.flatMap((section) => section.mid ?? []);
  if (new Set(mids).size !== mids.length) throw new SdpError('malformed', 'Two sections have the same mid');
  const ssrcs = sections.flatMap((section) => [...section.ssrcs.keys()]);
  if (new Set(ssrcs).size !== ssrcs.length) throw new SdpError('malformed', 'Two sections have the same SSRC');
}

function toMedia(section: Section, session: Session, index: number): OfferedMedia {
  const { mediaType } = section;
  return {
    index,
    ...(section.mid === undefined ? {} : { mid: section.mid }),
    kind: mediaType === 'audio' || mediaType === 'video' ? mediaType : 'other',
    mediaType,
    formats: section.formats,
    protocol: section.protocol,
    enabled: section.port !== 0 || section.bundleOnly,
    direction: section.direction ?? session.direction ?? 'sendrecv',
    codecs: joinCodecs(section),
    headerExtensions: section.headerExtensions,
    ssrcs: primarySsrcs(section),
    rtcpMux: section.rtcpMux,
    rtcpReducedSize: section.rtcpReducedSize,
  };
}

/** In the m-line's order, which is the client's preference. */
function joinCodecs(section: Section): OfferedCodec[] {
  const payloadTypes = new Set(section.formats.flatMap((format) => (/^\d{1,3}$/.test(format) ? Number(format) : [])));
  return [...payloadTypes].flatMap((payloadType) => {
    const known = section.codecs.get(payloadType) ?? STATIC_CODECS.get(payloadType);
    if (!known) return [];
    const rtcpFeedback = [...(section.feedback.get(payloadType) ?? []), ...(section.feedback.get('*') ?? [])];
    return [{ ...known, payloadType, parameters: section.parameters.get(payloadType) ?? {}, rtcpFeedback }];
  });
}

function primarySsrcs(section: Section): OfferedSsrc[] {
  const rtxSsrcs = new Map<number, number>();
  const secondary = new Set<number>();
  for (const { semantics, ssrcs } of section.ssrcGroups) {
    if (semantics !== 'FID' && !semantics.startsWith('FEC')) continue;
    const [primary, other] = ssrcs;
    if (primary === undefined || other === undefined || primary === other) continue;
    secondary.add(other);
    if (semantics === 'FID' && section.ssrcs.has(other)) rtxSsrcs.set(primary, other);
  }
  return [...section.ssrcs.values()]
    .filter(({ ssrc }) => !secondary.has(ssrc))
    .map((known) => {
      const rtxSsrc = rtxSsrcs.get(known.ssrc);
      return rtxSsrc === undefined ? known : { ...known, rtxSsrc };
    });
}

/** Without mids that no section has, and each mid in one group only. */
function knownGroups(groups: readonly string[][], media: readonly OfferedMedia[]): string[][] {
  const free = new Set(media.flatMap((section) => section.mid ?? []));
  return groups.map((mids) => mids.filter((mid) => free.delete(mid))).filter((mids) => mids.length > 0);
}

function addTransports(offer: Offer, session: Session, sections: readonly Section[]): void {
  const usable = (media: OfferedMedia) => media.kind !== 'other' && media.enabled && RTP_PROTOCOL.test(media.protocol);
  const bundled = offer.bundleGroups.map((mids) =>
    mids.flatMap((mid) => offer.media.filter((section) => section.mid === mid)),
  );
  const alone = offer.media.filter((section) => !bundled.some((group) => group.includes(section)));
  const groups = [
    ...bundled.map((members) => ({ members, isBundle: true })),
    ...alone.map((section) => ({ members: [section], isBundle: false })),
  ];
  for (const { members, isBundle } of groups) {
    const users = members.filter(usable);
    if (users.length === 0) continue;
    const attributes = members.flatMap((member) => sections[member.index] ?? []);
    for (const user of users) user.transportIndex = offer.transports.length;
    offer.transports.push({
      ...transportOf([...attributes, session]),
      mediaIndexes: users.map((user) => user.index).sort((a, b) => a - b),
      bundled: isBundle,
    });
  }
}

/** The first section of a group that has an attribute speaks for all; the session's level comes last. */
function transportOf(levels: readonly TransportAttributes[]): Pick<TransportOffer, 'iceParameters' | 'dtlsParameters'> {
  const ice = levels.find((level) => level.usernameFragment !== undefined && level.password !== undefined);
  const usernameFragment = ice?.usernameFragment ?? levels.find((level) => level.usernameFragment)?.usernameFragment;
  const password = ice?.password ?? levels.find((level) => level.password)?.password;
  if (usernameFragment === undefined || password === undefined) {
    throw new SdpError('no-ice', 'The offer has no ice-ufrag or no ice-pwd');
  }
  const offered = levels.find((level) => level.fingerprints.length > 0)?.fingerprints;
  if (!offered) throw new SdpError('no-fingerprint', 'The offer has no DTLS fingerprint');
  // mediasoup looks at the first fingerprint only.
  const order = Object.keys(FINGERPRINT_BYTES);
  const fingerprints = [...offered].sort((a, b) => order.indexOf(a.algorithm) - order.indexOf(b.algorithm));
  const role = dtlsRoleOf(levels.find((level) => level.setup !== undefined)?.setup);
  return { iceParameters: { usernameFragment, password }, dtlsParameters: { role, fingerprints } };
}

/** The client's DTLS role, given that we prefer to be the server. Without `setup` an offerer is active (RFC 4145). */
function dtlsRoleOf(setup: string | undefined): DtlsRole {
  switch (setup) {
    case undefined:
    case 'actpass':
    case 'active':
      return 'client';
    case 'passive':
      return 'server';
    default:
      throw new SdpError('unsupported', 'The offer has a setup attribute that is none of actpass, active and passive');
  }
}
