import type { CodecParameters, DtlsFingerprint, DtlsRole, IceParameters, RtcpFeedback } from './rtp-parameters.js';
import { SdpError } from './sdp-error.js';

/** What a hostile offer may cost. Anything above is refused with `too-large`. */
export const OFFER_LIMITS = {
  characters: 64 * 1024,
  lines: 2000,
  mediaSections: 8,
  codecsPerSection: 128,
  ssrcsPerSection: 32,
  headerExtensionsPerSection: 64,
} as const;

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

/** Attributes that may stand at the session's level as well as at the section's. */
interface TransportAttributes {
  usernameFragment?: string;
  password?: string;
  fingerprints: DtlsFingerprint[];
  setup?: string;
}

interface SsrcGroup {
  semantics: string;
  ssrcs: number[];
}

/** A section while its lines are read. */
interface Section extends TransportAttributes {
  mediaType: string;
  port: number;
  protocol: string;
  formats: string[];
  mid?: string;
  bundleOnly: boolean;
  direction?: Direction;
  rtcpMux: boolean;
  rtcpReducedSize: boolean;
  codecs: Map<number, OfferedCodec>;
  parameters: Map<number, CodecParameters>;
  feedback: Map<number | '*', RtcpFeedback[]>;
  headerExtensions: OfferedHeaderExtension[];
  ssrcs: Map<number, OfferedSsrc>;
  ssrcGroups: SsrcGroup[];
}

interface Session extends TransportAttributes {
  bundleGroups: string[][];
  direction?: Direction;
}

/** RFC 8866 token. */
const TOKEN = /^[!#-'*+\-.0-9A-Z^_`a-z{|}~]{1,64}$/;
const FORMAT = /^[!#-'*+\-./0-9A-Z^_`a-z{|}~]{1,64}$/;
const PROTOCOL = /^[A-Za-z0-9]{1,16}(?:\/[A-Za-z0-9]{1,16}){0,4}$/;
const RTP_PROTOCOL = /^(?:(?:UDP|TCP)\/(?:TLS|DTLS)\/)?RTP\/S?AVPF?$/i;
const MEDIA_LINE = /^([!-~]{1,64}) (\d{1,5})(?:\/\d{1,5})? (\S{1,100}) ?(.*)$/;
const RTPMAP = /^(\d{1,3}) +([^/ ]{1,64})\/(\d{1,9})(?:\/(\d{1,2}))?\s*$/;
const PRINTABLE = /^[\x21-\x7e]{1,255}$/;
/** ICE credentials. Wider than RFC 8839: other servers of the field put hyphens into them. */
const ICE_TEXT = /^[\x21-\x7e]{1,256}$/;
const PARAMETER_NAME = /^[A-Za-z0-9-]{1,64}$/;
const PARAMETER_VALUE = /^[A-Za-z0-9+\-/=,.:]{1,512}$/;
const FINGERPRINT = /^([A-Za-z0-9-]{1,16}) +([0-9A-Fa-f:]{1,255})\s*$/;

const FINGERPRINT_BYTES: Record<DtlsFingerprint['algorithm'], number> = {
  'sha-256': 32,
  'sha-384': 48,
  'sha-512': 64,
  'sha-224': 28,
  'sha-1': 20,
};

/** Registered spellings, by lower case. */
const CODEC_SPELLINGS = new Map(
  ['opus', 'PCMU', 'PCMA', 'G722', 'H264', 'VP8', 'VP9', 'AV1', 'rtx', 'red', 'ulpfec'].map((name) => [
    name.toLowerCase(),
    name,
  ]),
);

/** Payload types that need no rtpmap (RFC 3551). */
const STATIC_CODECS = new Map<number, Pick<OfferedCodec, 'name' | 'clockRate'>>([
  [0, { name: 'PCMU', clockRate: 8000 }],
  [8, { name: 'PCMA', clockRate: 8000 }],
  [9, { name: 'G722', clockRate: 8000 }],
]);

/** fmtp values that look like integers and aren't. */
const TEXT_PARAMETERS = new Set(['profile-level-id']);

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

function readLines(sdp: string): { session: Session; sections: Section[] } {
  if (typeof sdp !== 'string') throw new SdpError('malformed', 'The offer is not text');
  if (sdp.length > OFFER_LIMITS.characters) throw new SdpError('too-large', `The offer has ${sdp.length} characters`);
  const lines = sdp.split(/\r\n|\n|\r/, OFFER_LIMITS.lines + 1);
  if (lines.length > OFFER_LIMITS.lines) throw new SdpError('too-large', 'The offer has too many lines');
  if (!lines[0]?.startsWith('v=0')) throw new SdpError('malformed', 'The offer does not begin with v=0');

  const session: Session = { fingerprints: [], bundleGroups: [] };
  const sections: Section[] = [];
  for (const [number, line] of lines.entries()) {
    if (line === '') continue;
    if (!/^[a-z]=/.test(line)) throw new SdpError('malformed', `Line ${number + 1} is not SDP`);
    const value = line.slice(2);
    if (line.startsWith('m=')) {
      if (sections.length === OFFER_LIMITS.mediaSections) throw new SdpError('too-large', 'Too many media sections');
      sections.push(readMediaLine(value));
    } else if (line.startsWith('a=')) {
      const colon = value.indexOf(':');
      const name = colon < 0 ? value.trim() : value.slice(0, colon);
      const content = colon < 0 ? '' : value.slice(colon + 1).trim();
      const section = sections.at(-1);
      if (section) readSectionAttribute(section, name, content);
      else readSessionAttribute(session, name, content);
    }
  }
  return { session, sections };
}

function readMediaLine(value: string): Section {
  const [, mediaType = '', port, protocol = '', rest = ''] = MEDIA_LINE.exec(value) ?? [];
  const formats = rest.split(' ').filter((format) => format !== '');
  if (!TOKEN.test(mediaType) || !PROTOCOL.test(protocol) || formats.length === 0 || Number(port) > 65535) {
    throw new SdpError('malformed', 'A media line is malformed');
  }
  if (formats.length > OFFER_LIMITS.codecsPerSection) throw new SdpError('too-large', 'Too many formats');
  if (!formats.every((format) => FORMAT.test(format))) throw new SdpError('malformed', 'A media format is malformed');
  return {
    mediaType,
    port: Number(port),
    protocol,
    formats,
    fingerprints: [],
    bundleOnly: false,
    rtcpMux: false,
    rtcpReducedSize: false,
    codecs: new Map(),
    parameters: new Map(),
    feedback: new Map(),
    headerExtensions: [],
    ssrcs: new Map(),
    ssrcGroups: [],
  };
}

function readSessionAttribute(session: Session, name: string, value: string): void {
  switch (name) {
    case 'group': {
      const [semantics, ...mids] = value.split(/ +/);
      if (semantics === 'BUNDLE') session.bundleGroups.push(mids);
      return;
    }
    case 'sendrecv':
    case 'sendonly':
    case 'recvonly':
    case 'inactive':
      session.direction = name;
      return;
    default:
      readTransportAttribute(session, name, value);
  }
}

function readSectionAttribute(section: Section, name: string, value: string): void {
  switch (name) {
    case 'mid':
      if (!TOKEN.test(value)) throw new SdpError('malformed', 'A mid is malformed');
      section.mid = value;
      return;
    case 'sendrecv':
    case 'sendonly':
    case 'recvonly':
    case 'inactive':
      section.direction = name;
      return;
    case 'bundle-only':
      section.bundleOnly = true;
      return;
    case 'rtcp-mux':
      section.rtcpMux = true;
      return;
    case 'rtcp-rsize':
      section.rtcpReducedSize = true;
      return;
    case 'rtpmap':
      return readRtpmap(section, value);
    case 'fmtp':
      return readFmtp(section, value);
    case 'rtcp-fb':
      return readFeedback(section, value);
    case 'extmap':
      return readHeaderExtension(section, value);
    case 'ssrc':
      return readSsrc(section, value);
    case 'ssrc-group':
      return readSsrcGroup(section, value);
    default:
      readTransportAttribute(section, name, value);
  }
}

function readTransportAttribute(target: TransportAttributes, name: string, value: string): void {
  switch (name) {
    case 'ice-ufrag':
      if (!ICE_TEXT.test(value)) throw new SdpError('malformed', 'ice-ufrag is malformed');
      target.usernameFragment = value;
      return;
    case 'ice-pwd':
      if (!ICE_TEXT.test(value)) throw new SdpError('malformed', 'ice-pwd is malformed');
      target.password = value;
      return;
    case 'setup':
      target.setup = value.toLowerCase();
      return;
    case 'fingerprint': {
      const fingerprint = readFingerprint(value);
      if (fingerprint && target.fingerprints.length < 8) target.fingerprints.push(fingerprint);
    }
  }
}

/** Undefined for a hash function that nobody uses with DTLS-SRTP. */
function readFingerprint(value: string): DtlsFingerprint | undefined {
  const [, hash = '', hex = ''] = FINGERPRINT.exec(value) ?? [];
  const algorithm = Object.keys(FINGERPRINT_BYTES).find((name) => name === hash.toLowerCase()) as
    DtlsFingerprint['algorithm'] | undefined;
  if (!algorithm) {
    if (hash === '') throw new SdpError('malformed', 'A fingerprint is malformed');
    return undefined;
  }
  const pairs = hex.split(':');
  if (pairs.length !== FINGERPRINT_BYTES[algorithm] || !pairs.every((pair) => pair.length === 2)) {
    throw new SdpError('malformed', `A ${algorithm} fingerprint is malformed`);
  }
  return { algorithm, value: hex.toUpperCase() };
}

function readRtpmap(section: Section, value: string): void {
  const [, payload, encoding = '', clockRate, channels] = RTPMAP.exec(value) ?? [];
  const payloadType = Number(payload);
  if (!(payloadType <= 127) || !TOKEN.test(encoding)) return;
  if (section.codecs.has(payloadType)) return;
  if (section.codecs.size === OFFER_LIMITS.codecsPerSection) throw new SdpError('too-large', 'Too many codecs');
  section.codecs.set(payloadType, {
    payloadType,
    name: CODEC_SPELLINGS.get(encoding.toLowerCase()) ?? encoding,
    clockRate: Number(clockRate),
    ...(channels === undefined ? {} : { channels: Number(channels) }),
    parameters: {},
    rtcpFeedback: [],
  });
}

/** Several fmtp lines of one payload type are merged, the later value winning. */
function readFmtp(section: Section, value: string): void {
  const [, payload, list = ''] = /^(\d{1,3}) +(.*)$/.exec(value) ?? [];
  const payloadType = Number(payload);
  if (!(payloadType <= 127)) return;
  const parameters = section.parameters.get(payloadType) ?? {};
  for (const item of list.split(';').slice(0, 32)) {
    const equals = item.indexOf('=');
    const name = item.slice(0, equals).trim().toLowerCase();
    const text = item.slice(equals + 1).trim();
    if (equals < 1 || !PARAMETER_NAME.test(name) || !PARAMETER_VALUE.test(text)) continue;
    parameters[name] = /^(?:0|[1-9]\d{0,8})$/.test(text) && !TEXT_PARAMETERS.has(name) ? Number(text) : text;
  }
  section.parameters.set(payloadType, parameters);
}

function readFeedback(section: Section, value: string): void {
  const [payload = '', type = '', parameter] = value.split(/ +/);
  const target = payload === '*' ? '*' : /^\d{1,3}$/.test(payload) ? Number(payload) : undefined;
  if (target === undefined || !TOKEN.test(type) || (parameter !== undefined && !TOKEN.test(parameter))) return;
  const list = section.feedback.get(target) ?? [];
  if (list.length < 16) list.push(parameter === undefined ? { type } : { type, parameter });
  section.feedback.set(target, list);
}

function readHeaderExtension(section: Section, value: string): void {
  const [, id, uri = ''] = /^(\d{1,5})(?:\/[a-z]+)? +(\S+)/.exec(value) ?? [];
  if (id === undefined || !PRINTABLE.test(uri)) return;
  if (section.headerExtensions.length === OFFER_LIMITS.headerExtensionsPerSection) {
    throw new SdpError('too-large', 'Too many header extensions');
  }
  section.headerExtensions.push({ id: Number(id), uri });
}

function readSsrcNumber(text: string | undefined): number | undefined {
  const ssrc = /^\d{1,10}$/.test(text ?? '') ? Number(text) : 0;
  return ssrc > 0 && ssrc <= 0xffffffff ? ssrc : undefined;
}

function readSsrc(section: Section, value: string): void {
  const [, number, attribute, content = ''] = /^(\d{1,10})(?: +([a-z]+):?(.*))?$/.exec(value) ?? [];
  const ssrc = readSsrcNumber(number);
  if (ssrc === undefined) return;
  const known = section.ssrcs.get(ssrc) ?? { ssrc };
  if (attribute === 'cname' && PRINTABLE.test(content)) known.cname = content;
  section.ssrcs.set(ssrc, known);
  if (section.ssrcs.size > OFFER_LIMITS.ssrcsPerSection) throw new SdpError('too-large', 'Too many SSRCs');
}

function readSsrcGroup(section: Section, value: string): void {
  const [semantics = '', ...members] = value.split(/ +/);
  const ssrcs = members.flatMap((member) => readSsrcNumber(member) ?? []);
  if (section.ssrcGroups.length === OFFER_LIMITS.ssrcsPerSection) throw new SdpError('too-large', 'Too many SSRCs');
  section.ssrcGroups.push({ semantics, ssrcs });
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
