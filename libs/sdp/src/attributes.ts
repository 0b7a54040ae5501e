import { parseFmtp } from '@weir/frames';

import { type Block, type MediaBlock, TOKEN, valueOf, valuesOf } from './description.js';
import type { DtlsFingerprint } from './rtp-parameters.js';
import { SdpError } from './sdp-error.js';

/** Reads the attributes of descriptions, for offers, answers and RTSP alike. Invalid attributes are skipped. */

export const DIRECTIONS = ['sendrecv', 'sendonly', 'recvonly', 'inactive'] as const;
export type Direction = (typeof DIRECTIONS)[number];

export function directionOf({ attributes }: Block): Direction | undefined {
  for (const { name } of attributes) {
    const direction = DIRECTIONS.find((known) => known === name);
    if (direction !== undefined) return direction;
  }
  return undefined;
}

export interface Rtpmap {
  readonly name: string;
  readonly clockRate: number | undefined;
  readonly channels: number | undefined;
}

/** The payload types of RFC 3551 that need no rtpmap. */
const STATIC_RTPMAPS: readonly (readonly [number, Rtpmap])[] = (
  [
    [0, 'PCMU', 8_000, 1],
    [3, 'GSM', 8_000, 1],
    [4, 'G723', 8_000, 1],
    [8, 'PCMA', 8_000, 1],
    [9, 'G722', 8_000, 1],
    [10, 'L16', 44_100, 2],
    [11, 'L16', 44_100, 1],
    [14, 'MPA', 90_000, 1],
    [18, 'G729', 8_000, 1],
    [26, 'JPEG', 90_000, undefined],
    [32, 'MPV', 90_000, undefined],
    [33, 'MP2T', 90_000, undefined],
  ] as const
).map(([payloadType, name, clockRate, channels]) => [payloadType, { name, clockRate, channels }]);

const RTPMAP = /^(\d{1,3})\s+([^/\s]{1,64})(?![^/\s])\s*(?:\/\s*(\d{1,9})(?!\d)\s*(?:\/\s*(\d{1,2})\s*$)?)?/;

/** Keyed by payload type, including the static ones. The first line for a payload type counts. */
export function rtpmapsOf(section: MediaBlock): Map<number, Rtpmap> {
  const rtpmaps = new Map<number, Rtpmap>();
  for (const value of valuesOf(section, 'rtpmap')) {
    const [, payloadText, name = '', clockRate, channels] = RTPMAP.exec(value) ?? [];
    const payloadType = Number(payloadText);
    if (!(payloadType <= 127) || !TOKEN.test(name) || rtpmaps.has(payloadType)) continue;
    rtpmaps.set(payloadType, { name, clockRate: positive(clockRate), channels: positive(channels) });
  }
  for (const [payloadType, rtpmap] of STATIC_RTPMAPS) if (!rtpmaps.has(payloadType)) rtpmaps.set(payloadType, rtpmap);
  return rtpmaps;
}

const positive = (text: string | undefined): number | undefined => (Number(text) > 0 ? Number(text) : undefined);

/** In the order of the m-line, which is the sender's preference, without duplicates. */
export function payloadTypesOf({ formats }: MediaBlock): number[] {
  return [
    ...new Set(formats.flatMap((format) => (/^\d{1,3}$/.test(format) && Number(format) <= 127 ? Number(format) : []))),
  ];
}

/** Keyed by payload type. Several lines for one payload type are merged; later values win. */
export function fmtpsOf(section: MediaBlock): Map<number, Map<string, string>> {
  const fmtps = new Map<number, Map<string, string>>();
  for (const value of valuesOf(section, 'fmtp')) {
    const [, payloadType, list = ''] = /^(\d{1,3})\s+(.*)$/.exec(value) ?? [];
    if (payloadType === undefined) continue;
    const known = fmtps.get(Number(payloadType)) ?? [];
    fmtps.set(Number(payloadType), new Map([...known, ...Object.entries(parseFmtp(list))]));
  }
  return fmtps;
}

export interface HeaderExtension {
  readonly id: number;
  readonly uri: string;
}

const PRINTABLE = /^[\x21-\x7e]{1,255}$/;

export function headerExtensionsOf(section: MediaBlock): HeaderExtension[] {
  return valuesOf(section, 'extmap').flatMap((value) => {
    const [, id, uri = ''] = /^(\d{1,5})(?:\/[a-z]+)? +(\S+)/.exec(value) ?? [];
    return id === undefined || !PRINTABLE.test(uri) ? [] : [{ id: Number(id), uri }];
  });
}

/** In order of appearance. */
export function ssrcsOf(section: MediaBlock): Map<number, { ssrc: number; cname?: string }> {
  const ssrcs = new Map<number, { ssrc: number; cname?: string }>();
  for (const value of valuesOf(section, 'ssrc')) {
    const [, number, attribute, content = ''] = /^(\d{1,10})(?: +([a-z]+):?(.*))?$/.exec(value) ?? [];
    const ssrc = parseSsrc(number);
    if (ssrc === undefined) continue;
    const known = ssrcs.get(ssrc) ?? { ssrc };
    if (attribute === 'cname' && PRINTABLE.test(content)) known.cname = content;
    ssrcs.set(ssrc, known);
  }
  return ssrcs;
}

export interface SsrcGroup {
  readonly semantics: string;
  readonly ssrcs: readonly number[];
}

export function ssrcGroupsOf(section: MediaBlock): SsrcGroup[] {
  return valuesOf(section, 'ssrc-group').map((value) => {
    const [semantics = '', ...members] = value.split(/ +/);
    return { semantics, ssrcs: members.flatMap((member) => parseSsrc(member) ?? []) };
  });
}

function parseSsrc(text: string | undefined): number | undefined {
  const ssrc = /^\d{1,10}$/.test(text ?? '') ? Number(text) : 0;
  return ssrc > 0 && ssrc <= 0xffffffff ? ssrc : undefined;
}

/** The mids of each BUNDLE group. */
export function bundleGroupsOf(session: Block): string[][] {
  return valuesOf(session, 'group').flatMap((value) => {
    const [semantics, ...mids] = value.split(/ +/);
    return semantics === 'BUNDLE' ? [mids] : [];
  });
}

/** The attributes of a transport, from a section or, for all sections, from the session. */
export interface TransportAttributes {
  readonly usernameFragment: string | undefined;
  readonly password: string | undefined;
  readonly fingerprints: readonly DtlsFingerprint[];
  readonly setup: string | undefined;
}

/** ICE credentials. This accepts more than RFC 8839, because other servers of this kind use hyphens in them. */
const ICE_TEXT = /^[\x21-\x7e]{1,256}$/;
const MAX_FINGERPRINTS = 8;

/** @throws SdpError `malformed`, unless malformed attributes are to be skipped. */
export function transportAttributesOf(block: Block, malformed: 'refused' | 'skipped'): TransportAttributes {
  const refuse = (what: string): undefined => {
    if (malformed === 'refused') throw new SdpError('malformed', `${what} is malformed`);
  };
  const iceText = (name: 'ice-ufrag' | 'ice-pwd'): string | undefined => {
    const value = valueOf(block, name);
    return value === undefined || ICE_TEXT.test(value) ? value : refuse(name);
  };
  return {
    usernameFragment: iceText('ice-ufrag'),
    password: iceText('ice-pwd'),
    fingerprints: valuesOf(block, 'fingerprint')
      .flatMap((value) => {
        const fingerprint = readFingerprint(value);
        if (fingerprint === 'malformed') return refuse('A fingerprint') ?? [];
        return fingerprint ?? [];
      })
      .slice(0, MAX_FINGERPRINTS),
    setup: valueOf(block, 'setup')?.toLowerCase(),
  };
}

/** Strongest first. */
export const FINGERPRINT_BYTES: Record<DtlsFingerprint['algorithm'], number> = {
  'sha-256': 32,
  'sha-384': 48,
  'sha-512': 64,
  'sha-224': 28,
  'sha-1': 20,
};
const FINGERPRINT = /^([A-Za-z0-9-]{1,16}) +([0-9A-Fa-f:]{1,255})$/;

const isHash = (name: string): name is DtlsFingerprint['algorithm'] => Object.hasOwn(FINGERPRINT_BYTES, name);

/** Undefined for a hash function that isn't used with DTLS-SRTP. */
function readFingerprint(value: string): DtlsFingerprint | 'malformed' | undefined {
  const [, hash, hex = ''] = FINGERPRINT.exec(value) ?? [];
  if (hash === undefined) return 'malformed';
  const algorithm = hash.toLowerCase();
  if (!isHash(algorithm)) return undefined;
  const pairs = hex.split(':');
  const isWhole = pairs.length === FINGERPRINT_BYTES[algorithm] && pairs.every((pair) => pair.length === 2);
  return isWhole ? { algorithm, value: hex.toUpperCase() } : 'malformed';
}
