import {
  candidateLine,
  codecLines,
  descriptionOf,
  mediaLine,
  sessionLines,
  ssrcLines,
  transportLines,
  word,
  type WrittenCandidate,
  type WrittenCodec,
} from './lines.js';
import { ABS_SEND_TIME_URI } from './rtp-parameters.js';

export type LocalCandidate = Omit<WrittenCandidate, 'protocol' | 'tcpType'>;

export interface LocalTransport {
  readonly usernameFragment: string;
  readonly password: string;
  /** SHA-256, as pairs of upper-case digits separated by colons. */
  readonly fingerprint: string;
  readonly candidates: readonly LocalCandidate[];
}

/** A single channel isn't written. */
export type OwnCodec = WrittenCodec & {
  readonly channels: number;
  readonly parameters: Readonly<Record<string, string>>;
};

export interface OwnSection {
  readonly kind: 'audio' | 'video';
  readonly direction: 'sendonly' | 'recvonly';
  readonly codecs: readonly OwnCodec[];
  readonly transport: LocalTransport;
  /** The SSRC and CNAME of the sent media. */
  readonly sent?: { readonly ssrc: number; readonly cname: string };
}

export interface OfferOptions {
  /** A number of up to 19 digits. */
  readonly originId: string;
  readonly sections: readonly OwnSection[];
}

const ABS_SEND_TIME_ID = 3;

const VIDEO_FEEDBACK = ['goog-remb', 'ccm fir', 'nack', 'nack pli'];
const AUDIO_FEEDBACK = ['nack'];

const sectionLines = ({ kind, direction, codecs, transport, sent }: OwnSection): string[] => {
  const first = transport.candidates[0];
  const family = first?.address.includes(':') ? 'IP6' : 'IP4';
  const address = `${family} ${word(first?.address ?? '0.0.0.0')}`;
  const port = first?.port ?? 9;
  const fingerprint = { algorithm: 'sha-256', value: transport.fingerprint };
  const msid = `weir weir-${kind}`;
  return [
    mediaLine(
      kind,
      port,
      'UDP/TLS/RTP/SAVPF',
      codecs.map(({ payloadType }) => payloadType),
    ),
    `c=IN ${address}`,
    `a=rtcp:${port} IN ${address}`,
    ...transportLines({ ...transport, fingerprint, setup: 'actpass' }),
    `a=mid:${kind}`,
    `a=extmap:${ABS_SEND_TIME_ID} ${ABS_SEND_TIME_URI}`,
    `a=${direction}`,
    'a=rtcp-mux',
    ...codecs.flatMap((codec) => codecLines(codec, kind === 'video' ? VIDEO_FEEDBACK : AUDIO_FEEDBACK)),
    ...(sent === undefined ? [] : [`a=msid:${msid}`, ...ssrcLines(sent.ssrc, sent.cname, msid)]),
    ...transport.candidates.map((candidate) => candidateLine({ ...candidate, protocol: 'udp' })),
    'a=end-of-candidates',
  ];
};

/**
 * Writes an offer like a browser's with the max-compat policy: it offers BUNDLE, and every section also has its own
 * transport for servers that don't bundle. The mids are those that the original server uses in answers to any offer.
 */
export const writeOffer = ({ originId, sections }: OfferOptions): string =>
  descriptionOf([
    ...sessionLines({ id: originId, version: 2, address: '127.0.0.1' }),
    `a=group:BUNDLE ${sections.map(({ kind }) => kind).join(' ')}`,
    'a=msid-semantic: WMS *',
    ...sections.flatMap(sectionLines),
  ]);
