import type { Direction, OfferedCodec, OfferedHeaderExtension, OfferedSsrc } from './offer.js';
import type { CodecParameters, DtlsFingerprint, RtcpFeedback } from './rtp-parameters.js';
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

/** Attributes that may stand at the session's level as well as at the section's. */
export interface TransportAttributes {
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
export interface Section extends TransportAttributes {
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

export interface Session extends TransportAttributes {
  bundleGroups: string[][];
  direction?: Direction;
}

/** RFC 8866 token. */
const TOKEN = /^[!#-'*+\-.0-9A-Z^_`a-z{|}~]{1,64}$/;
const FORMAT = /^[!#-'*+\-./0-9A-Z^_`a-z{|}~]{1,64}$/;
const PROTOCOL = /^[A-Za-z0-9]{1,16}(?:\/[A-Za-z0-9]{1,16}){0,4}$/;
const MEDIA_LINE = /^([!-~]{1,64}) (\d{1,5})(?:\/\d{1,5})? (\S{1,100}) ?(.*)$/;
const RTPMAP = /^(\d{1,3}) +([^/ ]{1,64})\/(\d{1,9})(?:\/(\d{1,2}))?\s*$/;
const PRINTABLE = /^[\x21-\x7e]{1,255}$/;
/** ICE credentials. Wider than RFC 8839: other servers of the field put hyphens into them. */
const ICE_TEXT = /^[\x21-\x7e]{1,256}$/;
const PARAMETER_NAME = /^[A-Za-z0-9-]{1,64}$/;
const PARAMETER_VALUE = /^[A-Za-z0-9+\-/=,.:]{1,512}$/;
const FINGERPRINT = /^([A-Za-z0-9-]{1,16}) +([0-9A-Fa-f:]{1,255})\s*$/;

/** Strongest first. */
export const FINGERPRINT_BYTES: Record<DtlsFingerprint['algorithm'], number> = {
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

/** fmtp values that look like integers and aren't. */
const TEXT_PARAMETERS = new Set(['profile-level-id']);

/** Every line that matters, checked and sorted into the session and its sections. */
export function readLines(sdp: string): { session: Session; sections: Section[] } {
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
