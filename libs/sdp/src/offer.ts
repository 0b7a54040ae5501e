import {
  bundleGroupsOf,
  type Direction,
  directionOf,
  FINGERPRINT_BYTES,
  fmtpsOf,
  type HeaderExtension,
  headerExtensionsOf,
  payloadTypesOf,
  rtpmapsOf,
  ssrcGroupsOf,
  ssrcsOf,
  type TransportAttributes,
  transportAttributesOf,
} from './attributes.js';
import {
  type Block,
  hasFlag,
  type MediaBlock,
  readDescription,
  type ReadingRules,
  SDP_LIMITS,
  TOKEN,
  valueOf,
  valuesOf,
} from './description.js';
import type { CodecParameters, DtlsFingerprint, DtlsRole, IceParameters, RtcpFeedback } from './rtp-parameters.js';
import { SdpError } from './sdp-error.js';

/** Limits for hostile offers. Anything larger is refused with `too-large`. */
export const OFFER_LIMITS = {
  ...SDP_LIMITS,
  mediaSections: 8,
  ssrcsPerSection: 32,
  headerExtensionsPerSection: 64,
  feedbackPerCodec: 16,
} as const;

const OFFER_RULES: ReadingRules = {
  mediaSections: OFFER_LIMITS.mediaSections,
  firstLine: 'v=0',
  otherLines: 'refused',
};

/** One codec of an m-line, combined from rtpmap, fmtp and rtcp-fb. Every string is safe to write into an SDP line. */
export interface OfferedCodec {
  payloadType: number;
  /** In its registered spelling, if known: `opus`, `PCMU`, `H264`, `VP8`, `rtx`. */
  name: string;
  clockRate: number;
  /** Audio only. */
  channels?: number;
  parameters: CodecParameters;
  rtcpFeedback: RtcpFeedback[];
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
  /** The m-line's media word and formats, which the answer repeats for a rejected section. */
  mediaType: string;
  formats: readonly string[];
  protocol: string;
  /**
   * False if the client itself has switched the section off: its port is 0, and it isn't a bundle-only section of a BUNDLE
   * group (RFC 8843 §6).
   */
  enabled: boolean;
  direction: Direction;
  codecs: OfferedCodec[];
  headerExtensions: HeaderExtension[];
  /**
   * Primary SSRCs, in order of appearance. SSRCs of retransmissions are attached to them; those of FEC are left out.
   */
  ssrcs: OfferedSsrc[];
  rtcpMux: boolean;
  rtcpReducedSize: boolean;
  /** Index in `Offer.transports`; undefined for a section that can only be rejected (not RTP, or disabled). */
  transportIndex?: number;
}

/** One ICE/DTLS transport: a BUNDLE group, or an m-line outside of every group. */
export interface TransportOffer {
  /** The client's parameters. mediasoup doesn't need them, because it is ICE-lite. */
  iceParameters: IceParameters;
  /** For `WebRtcTransport.connect()`: `role` is the client's role in the DTLS handshake. */
  dtlsParameters: { role: DtlsRole; fingerprints: DtlsFingerprint[] };
  /** Indexes in `Offer.media`; audio and video only. */
  mediaIndexes: number[];
  bundled: boolean;
}

export interface Offer {
  transports: TransportOffer[];
  media: OfferedMedia[];
  /** The mids of each offered BUNDLE group, without those that no m-line has. */
  bundleGroups: string[][];
}

const RTP_PROTOCOL = /^(?:(?:UDP|TCP)\/(?:TLS|DTLS)\/)?RTP\/S?AVPF?$/i;

/** Registered spellings, keyed by the name in lower case. */
const CODEC_SPELLINGS = new Map(
  ['opus', 'PCMU', 'PCMA', 'G722', 'H264', 'VP8', 'VP9', 'AV1', 'rtx', 'red', 'ulpfec'].map((name) => [
    name.toLowerCase(),
    name,
  ]),
);
const PARAMETER_NAME = /^[A-Za-z0-9-]{1,64}$/;
const PARAMETER_VALUE = /^[A-Za-z0-9+\-/=,.:]{1,512}$/;
/** fmtp values that look like integers but aren't. */
const TEXT_PARAMETERS = new Set(['profile-level-id']);

/**
 * Reads a client's offer. Unknown parts are skipped. The rest is checked, so that it is safe to write into an answer.
 * @throws SdpError and nothing else, for any text.
 */
export function parseOffer(sdp: string): Offer {
  const { session, sections } = readDescription(sdp, OFFER_RULES);
  if (sections.length === 0) throw new SdpError('no-media', 'The offer has no media section');
  const groups = bundleGroupsOf(session);
  const media = sections.map((section, index) => toMedia(section, session, groups.flat(), index));
  checkUnique(
    media.flatMap(({ mid }) => mid ?? []),
    'mid',
  );
  checkUnique(
    sections.flatMap((section) => [...ssrcsOf(section).keys()]),
    'SSRC',
  );
  const offer: Offer = { transports: [], media, bundleGroups: knownGroups(groups, media) };
  addTransports(offer, session, sections);
  if (!media.some((section) => section.kind !== 'other')) {
    throw new SdpError('no-media', 'The offer has neither audio nor video');
  }
  if (offer.transports.length === 0) {
    throw new SdpError('unsupported', 'No audio or video section of the offer is switched on and RTP');
  }
  return offer;
}

/** Each mid and each SSRC must belong to one section; otherwise mediasoup would mix the sections up, or throw. */
function checkUnique(names: readonly (string | number)[], what: string): void {
  if (new Set(names).size !== names.length) throw new SdpError('malformed', `Two sections have the same ${what}`);
}

function toMedia(section: MediaBlock, session: Block, bundledMids: readonly string[], index: number): OfferedMedia {
  const { mediaType, port, protocol, formats } = section;
  if (formats.length === 0) throw new SdpError('malformed', 'A media line has no formats');
  const mid = valueOf(section, 'mid');
  if (mid !== undefined && !TOKEN.test(mid)) throw new SdpError('malformed', 'A mid is malformed');
  const headerExtensions = headerExtensionsOf(section);
  if (headerExtensions.length > OFFER_LIMITS.headerExtensionsPerSection)
    throw new SdpError('too-large', 'The offer has too many header extensions');
  return {
    index,
    ...(mid === undefined ? {} : { mid }),
    kind: mediaType === 'audio' || mediaType === 'video' ? mediaType : 'other',
    mediaType,
    formats,
    protocol,
    enabled: port !== 0 || (hasFlag(section, 'bundle-only') && mid !== undefined && bundledMids.includes(mid)),
    direction: directionOf(section) ?? directionOf(session) ?? 'sendrecv',
    codecs: codecsOf(section),
    headerExtensions,
    ssrcs: primarySsrcs(section),
    rtcpMux: hasFlag(section, 'rtcp-mux'),
    rtcpReducedSize: hasFlag(section, 'rtcp-rsize'),
  };
}

/** In the order of the m-line, which is the client's preference. */
function codecsOf(section: MediaBlock): OfferedCodec[] {
  const rtpmaps = rtpmapsOf(section);
  const fmtps = fmtpsOf(section);
  const feedback = feedbackOf(section);
  return payloadTypesOf(section).flatMap((payloadType) => {
    const { name, clockRate, channels } = rtpmaps.get(payloadType) ?? {};
    if (name === undefined || clockRate === undefined) return [];
    return [
      {
        payloadType,
        name: CODEC_SPELLINGS.get(name.toLowerCase()) ?? name,
        clockRate,
        ...(channels === undefined ? {} : { channels }),
        parameters: writableParameters(fmtps.get(payloadType) ?? new Map()),
        rtcpFeedback: [...(feedback.get(payloadType) ?? []), ...(feedback.get('*') ?? [])],
      },
    ];
  });
}

function writableParameters(fmtp: ReadonlyMap<string, string>): CodecParameters {
  const parameters: CodecParameters = {};
  for (const [name, value] of fmtp) {
    if (!PARAMETER_NAME.test(name) || !PARAMETER_VALUE.test(value)) continue;
    parameters[name] = /^(?:0|[1-9]\d{0,8})$/.test(value) && !TEXT_PARAMETERS.has(name) ? Number(value) : value;
  }
  return parameters;
}

function feedbackOf(section: MediaBlock): Map<number | '*', RtcpFeedback[]> {
  const feedback = new Map<number | '*', RtcpFeedback[]>();
  for (const value of valuesOf(section, 'rtcp-fb')) {
    const [payload = '', type = '', parameter] = value.split(/ +/);
    const target = payload === '*' ? '*' : /^\d{1,3}$/.test(payload) ? Number(payload) : undefined;
    if (target === undefined || !TOKEN.test(type) || (parameter !== undefined && !TOKEN.test(parameter))) continue;
    const list = feedback.get(target) ?? [];
    if (list.length < OFFER_LIMITS.feedbackPerCodec)
      list.push(parameter === undefined ? { type } : { type, parameter });
    feedback.set(target, list);
  }
  return feedback;
}

function primarySsrcs(section: MediaBlock): OfferedSsrc[] {
  const ssrcs = ssrcsOf(section);
  const groups = ssrcGroupsOf(section);
  if (ssrcs.size > OFFER_LIMITS.ssrcsPerSection || groups.length > OFFER_LIMITS.ssrcsPerSection)
    throw new SdpError('too-large', 'The offer has too many SSRCs');
  const rtxSsrcs = new Map<number, number>();
  const secondary = new Set<number>();
  for (const { semantics, ssrcs: members } of groups) {
    if (semantics !== 'FID' && !semantics.startsWith('FEC')) continue;
    const [primary, other] = members;
    if (primary === undefined || other === undefined || primary === other) continue;
    secondary.add(other);
    if (semantics === 'FID' && ssrcs.has(other)) rtxSsrcs.set(primary, other);
  }
  return [...ssrcs.values()]
    .filter(({ ssrc }) => !secondary.has(ssrc))
    .map((known) => {
      const rtxSsrc = rtxSsrcs.get(known.ssrc);
      return rtxSsrc === undefined ? known : { ...known, rtxSsrc };
    });
}

/** Returns the groups without mids that no section has, and with each mid in one group only. */
function knownGroups(groups: readonly string[][], media: readonly OfferedMedia[]): string[][] {
  const free = new Set(media.flatMap((section) => section.mid ?? []));
  return groups.map((mids) => mids.filter((mid) => free.delete(mid))).filter((mids) => mids.length > 0);
}

function addTransports(offer: Offer, session: Block, sections: readonly MediaBlock[]): void {
  const usable = (media: OfferedMedia) => media.kind !== 'other' && media.enabled && RTP_PROTOCOL.test(media.protocol);
  const bundled = offer.bundleGroups.map((mids) =>
    mids.flatMap((mid) => offer.media.filter((section) => section.mid === mid)),
  );
  const alone = offer.media.filter((section) => !bundled.some((group) => group.includes(section)));
  const groups = [
    ...bundled.map((members) => ({ members, isBundle: true })),
    ...alone.map((section) => ({ members: [section], isBundle: false })),
  ];
  // All sections are read, even those without a transport, so that a malformed attribute is refused anywhere.
  const ofSections = sections.map((section) => transportAttributesOf(section, 'refused'));
  const ofSession = transportAttributesOf(session, 'refused');
  for (const { members, isBundle } of groups) {
    const users = members.filter(usable);
    if (users.length === 0) continue;
    const attributes = members.flatMap((member) => ofSections[member.index] ?? []);
    for (const user of users) user.transportIndex = offer.transports.length;
    offer.transports.push({
      ...transportOf([...attributes, ofSession]),
      mediaIndexes: users.map((user) => user.index).sort((a, b) => a - b),
      bundled: isBundle,
    });
  }
}

/** The first section of a group that has an attribute decides for the group; the session's attributes come last. */
function transportOf(levels: readonly TransportAttributes[]): Pick<TransportOffer, 'iceParameters' | 'dtlsParameters'> {
  const ice = levels.find((level) => level.usernameFragment !== undefined && level.password !== undefined);
  const usernameFragment = ice?.usernameFragment ?? levels.find((level) => level.usernameFragment)?.usernameFragment;
  const password = ice?.password ?? levels.find((level) => level.password)?.password;
  if (usernameFragment === undefined || password === undefined) {
    throw new SdpError('no-ice', 'The offer has no ice-ufrag or no ice-pwd');
  }
  const offered = levels.find((level) => level.fingerprints.length > 0)?.fingerprints;
  if (!offered) throw new SdpError('no-fingerprint', 'The offer has no DTLS fingerprint');
  // mediasoup uses only the first fingerprint.
  const order = Object.keys(FINGERPRINT_BYTES);
  const fingerprints = [...offered].sort((a, b) => order.indexOf(a.algorithm) - order.indexOf(b.algorithm));
  const role = dtlsRoleOf(levels.find((level) => level.setup !== undefined)?.setup);
  return { iceParameters: { usernameFragment, password }, dtlsParameters: { role, fingerprints } };
}

/** The client's DTLS role if weir prefers to be the server. An offerer without `setup` is active (RFC 4145). */
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
