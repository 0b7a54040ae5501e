import { codecNamed } from '@weir/frames';
import {
  bundleGroupsOf,
  directionOf,
  type Direction,
  fmtpsOf,
  type HeaderExtension,
  headerExtensionsOf,
  payloadTypesOf,
  type Rtpmap,
  rtpmapsOf,
  ssrcGroupsOf,
  ssrcsOf,
  transportAttributesOf,
} from './attributes.js';
import {
  type Block,
  hasFlag,
  type MediaBlock,
  readDescription,
  type ReadingRules,
  valueOf,
  valuesOf,
} from './description.js';
import type { DtlsFingerprint } from './rtp-parameters.js';
import { SdpError } from './sdp-error.js';

export interface AnsweredCodec {
  readonly payloadType: number;
  /** Spelled as `codecNamed` returns it. */
  readonly name: string;
  readonly clockRate: number;
  readonly channels: number;
  readonly parameters: Readonly<Record<string, string>>;
}

export interface RemoteCandidate {
  readonly foundation: string;
  readonly priority: number;
  readonly address: string;
  readonly port: number;
  readonly type: string;
}

export interface RemoteTransport {
  readonly usernameFragment: string;
  readonly password: string;
  readonly iceLite: boolean;
  readonly fingerprints: readonly DtlsFingerprint[];
  /** The remote's role in the DTLS handshake; undefined if the answer doesn't say. */
  readonly setup: 'active' | 'passive' | undefined;
  /** UDP, component 1. */
  readonly candidates: readonly RemoteCandidate[];
}

export interface AnsweredMedia {
  readonly mid: string | undefined;
  readonly kind: 'audio' | 'video' | 'other';
  /** False if the section was refused. */
  readonly accepted: boolean;
  readonly direction: Direction;
  /** In the order of the m-line. */
  readonly codecs: readonly AnsweredCodec[];
  readonly headerExtensions: readonly HeaderExtension[];
  readonly ssrcs: readonly number[];
  readonly transport: RemoteTransport | undefined;
  /** The index of the section whose transport carries this section's media: its own index, unless it is bundled. */
  readonly transportOf: number;
}

export interface Answer {
  readonly media: readonly AnsweredMedia[];
}

const LIMITS = { sections: 8, codecs: 64, candidates: 32, ssrcs: 32, headerExtensions: 32, parameters: 32 } as const;

const ANSWER_RULES: ReadingRules = { mediaSections: LIMITS.sections, firstLine: 'v=0', otherLines: 'skipped' };

/** Hashes that are strong enough to identify a certificate. */
const STRONG_HASHES: readonly DtlsFingerprint['algorithm'][] = ['sha-256', 'sha-384', 'sha-512'];

const candidatesOf = (section: MediaBlock): RemoteCandidate[] =>
  valuesOf(section, 'candidate')
    .slice(0, LIMITS.candidates)
    .flatMap((value) => {
      const [foundation = '', component, transport, priority, address = '', port, typ, type = ''] = value.split(/ +/);
      const candidate = { foundation, priority: Number(priority), address, port: Number(port), type };
      const usable =
        component === '1' &&
        transport?.toLowerCase() === 'udp' &&
        typ === 'typ' &&
        Number.isInteger(candidate.priority) &&
        candidate.priority >= 0 &&
        candidate.priority <= 0xffff_ffff &&
        Number.isInteger(candidate.port) &&
        candidate.port > 0 &&
        candidate.port <= 65_535 &&
        /^[0-9a-f.:]{2,45}$/i.test(address) &&
        /^[\w+/-]{1,32}$/.test(foundation);
      return usable ? [candidate] : [];
    });

/** Attributes that a section lacks are taken from the session level. */
const transportOf = (section: MediaBlock, session: Block): RemoteTransport => {
  const own = transportAttributesOf(section, 'skipped');
  const common = transportAttributesOf(session, 'skipped');
  const usernameFragment = own.usernameFragment ?? common.usernameFragment;
  const password = own.password ?? common.password;
  if (usernameFragment === undefined || password === undefined)
    throw new SdpError('no-ice', 'The answer has no usable ICE credentials');
  const named = hasFlag(section, 'fingerprint') ? own.fingerprints : common.fingerprints;
  const fingerprints = named.filter(({ algorithm }) => STRONG_HASHES.includes(algorithm));
  if (fingerprints.length === 0) throw new SdpError('no-fingerprint', 'The answer has no usable DTLS fingerprint');
  const setup = own.setup ?? common.setup;
  return {
    usernameFragment,
    password,
    iceLite: hasFlag(session, 'ice-lite') || hasFlag(section, 'ice-lite'),
    fingerprints,
    setup: setup === 'active' || setup === 'passive' ? setup : undefined,
    candidates: candidatesOf(section),
  };
};

const codecOf = (
  payloadType: number,
  { name, clockRate, channels = 1 }: Rtpmap,
  fmtp: ReadonlyMap<string, string> | undefined,
): AnsweredCodec[] => {
  if (!/^[\w.-]{1,32}$/.test(name) || clockRate === undefined) return [];
  const parameters = [...(fmtp ?? [])].filter(([key]) => /^[\w-]{1,64}$/.test(key)).slice(0, LIMITS.parameters);
  return [{ payloadType, name: codecNamed(name), clockRate, channels, parameters: Object.fromEntries(parameters) }];
};

const codecsOf = (section: MediaBlock): AnsweredCodec[] => {
  const rtpmaps = rtpmapsOf(section);
  const fmtps = fmtpsOf(section);
  return payloadTypesOf(section)
    .slice(0, LIMITS.codecs)
    .flatMap((payloadType) => {
      const rtpmap = rtpmaps.get(payloadType);
      return rtpmap === undefined ? [] : codecOf(payloadType, rtpmap, fmtps.get(payloadType));
    });
};

/** Without the SSRCs of retransmissions and error correction. */
const primarySsrcsOf = (section: MediaBlock): number[] => {
  const secondary = ssrcGroupsOf(section).flatMap(({ ssrcs }) => ssrcs.slice(1));
  return [...ssrcsOf(section).keys()].filter((ssrc) => !secondary.includes(ssrc)).slice(0, LIMITS.ssrcs);
};

const mediaOf = (section: MediaBlock, session: Block, transportIndex: number): AnsweredMedia => {
  const { mediaType, port } = section;
  const isAccepted = port > 0;
  return {
    mid: valueOf(section, 'mid'),
    kind: mediaType === 'audio' || mediaType === 'video' ? mediaType : 'other',
    accepted: isAccepted,
    direction: directionOf(section) ?? directionOf(session) ?? 'sendrecv',
    codecs: codecsOf(section),
    headerExtensions: headerExtensionsOf(section)
      .filter(({ id }) => id >= 1 && id <= 14)
      .slice(0, LIMITS.headerExtensions),
    ssrcs: primarySsrcsOf(section),
    transport: isAccepted ? transportOf(section, session) : undefined,
    transportOf: transportIndex,
  };
};

/** For each section, the index of the one that carries it: the first of its BUNDLE group, or itself. */
const carriers = (session: Block, sections: readonly MediaBlock[]): number[] => {
  const mids = sections.map((section) => valueOf(section, 'mid'));
  const groups = bundleGroupsOf(session);
  return mids.map((mid, index) => {
    const group = groups.find((members) => mid !== undefined && members.includes(mid));
    const first = group === undefined ? -1 : mids.indexOf(group[0]);
    return first < 0 ? index : first;
  });
};

/**
 * Reads the answer of another WCS server. weir's answers have BUNDLE and ICE-lite. The original server's have neither
 * BUNDLE nor `a=setup`, but a port for each m-line, `RTP/SAVPF`, and `SHA-256` in capitals. Unknown parts are skipped.
 * @throws SdpError and nothing else, for any text. Its message contains nothing of the answer's text.
 */
export const parseAnswer = (sdp: string): Answer => {
  const { session, sections } = readDescription(sdp, ANSWER_RULES);
  if (sections.length === 0) throw new SdpError('no-media', 'The answer has no media');
  const carriedBy = carriers(session, sections);
  return { media: sections.map((section, index) => mediaOf(section, session, carriedBy[index] ?? index)) };
};
