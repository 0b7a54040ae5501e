import { EndReason } from '@weir/contracts';
import type { RefusalReason } from '@weir/outbound';
import type { ClientEnd } from '@weir/protocol-wcs';
import type { TransportEnd } from './peer/transport.js';

/** Why one attempt of a relay is over. */
export type AttemptEnd =
  | { readonly tag: 'stopped' }
  /** The other server ended the attempt, or the connection to it failed. */
  | { readonly tag: 'remote'; readonly end: Exclude<ClientEnd, { tag: 'stopped' | 'media-failed' }> }
  | { readonly tag: 'media'; readonly end: TransportEnd; readonly detail: string }
  | { readonly tag: 'bad-uri'; readonly detail: string }
  | { readonly tag: 'address-refused'; readonly reason: RefusalReason; readonly subject: string }
  | { readonly tag: 'bad-answer'; readonly detail: string }
  /** `notCarried` lists the media, each with its reason. */
  | { readonly tag: 'no-common-codecs'; readonly notCarried: readonly string[] }
  | { readonly tag: 'no-permitted-address' }
  /** The connection is up, but no media have come for so long that the media core has given the stream up. */
  | { readonly tag: 'no-media' }
  | { readonly tag: 'local-missing' }
  | { readonly tag: 'local-busy' }
  /** The name belongs to a robot, a call or a recording. */
  | { readonly tag: 'local-reserved' }
  | { readonly tag: 'local-ended'; readonly reason: EndReason }
  | { readonly tag: 'local-failed'; readonly detail: string };

export interface AttemptListener {
  /** The other server has agreed to the stream, except for the media in `notCarried`, each with its reason. */
  accepted(notCarried: readonly string[]): void;
  /** The other server says that media flow. */
  running(): void;
  /** Called once; the attempt has released everything by then. */
  ended(end: AttemptEnd): void;
}

export interface AttemptStats {
  readonly packets: number;
  readonly bytes: number;
  /** Of a push: packets sent again on the remote's request. Of a pull: packets requested again. */
  readonly resentPackets: number;
  /** From the last report, 0 to 1. */
  readonly fractionLost: number;
  readonly rttMs: number | undefined;
  /** The remote's estimate of the path's capacity. */
  readonly availableBps: number | undefined;
  readonly keyFrameRequests: number;
  /** How long nothing at all has come from the remote on the media path. */
  readonly silentMs: number;
}

export const NO_STATS: AttemptStats = {
  packets: 0,
  bytes: 0,
  resentPackets: 0,
  fractionLost: 0,
  rttMs: undefined,
  availableBps: undefined,
  keyFrameRequests: 0,
  silentMs: 0,
};

/** One attempt of a relay. */
export interface Attempt {
  readonly localMediaSessionId: string;
  readonly remoteMediaSessionId: string;
  readonly stats: AttemptStats;
  /** Ends the attempt in order; `ended` is called as for every other end. */
  stop(): void;
}

/** What happens to the relay after an attempt has ended. */
export type Consequence =
  /** Another attempt may succeed. */
  | 'retry'
  /** No attempt can succeed until somebody changes something. */
  | 'fail'
  /** The stream is over, and so is the relay. */
  | 'finish';

export const consequenceOf = (end: AttemptEnd): Consequence => {
  switch (end.tag) {
    case 'stopped':
      return 'finish';
    case 'remote':
      // The other operator wants an orderly end; FAILED may be an accident.
      return end.end.tag === 'ended-by-remote' && end.end.status !== 'FAILED' ? 'finish' : 'retry';
    case 'media':
    case 'no-media':
    case 'local-missing':
    case 'local-busy':
    case 'local-failed':
    case 'bad-answer':
      return 'retry';
    case 'bad-uri':
    case 'local-reserved':
    case 'address-refused':
    case 'no-common-codecs':
    case 'no-permitted-address':
      return 'fail';
    case 'local-ended':
      return localConsequence(end.reason);
    default:
      return end satisfies never;
  }
};

const localConsequence = (reason: EndReason): Consequence => {
  switch (reason) {
    case EndReason.NODE_LOST:
    case EndReason.NODE_SHUTDOWN:
    case EndReason.REPLACED:
    case EndReason.OWNER_LOST:
    case EndReason.SOURCE_FAILED:
    case EndReason.NO_MEDIA:
    case EndReason.UNSPECIFIED:
      return 'retry';
    case EndReason.CLIENT:
    case EndReason.DISCONNECTED:
    case EndReason.TERMINATED:
    case EndReason.ICE_TIMEOUT:
    case EndReason.ICE_LOST:
    case EndReason.DTLS_FAILED:
    case EndReason.STREAM_ENDED:
    case EndReason.SOURCE_TIMEOUT:
      return 'finish';
    default:
      return reason satisfies never;
  }
};

/** The reason as text for people, in lists and logs. */
export const reasonOf = (end: AttemptEnd): string => {
  switch (end.tag) {
    case 'stopped':
      return 'Stopped';
    case 'remote':
      return remoteReason(end.end);
    case 'media':
      return `${MEDIA_REASONS[end.end]}: ${end.detail}`;
    case 'bad-uri':
      return `Bad URI: ${end.detail}`;
    case 'address-refused':
      return `Outbound connection refused (${end.reason}): ${end.subject}`;
    case 'bad-answer':
      return `The answer can't be used: ${end.detail}`;
    case 'no-common-codecs':
      return ['No common codecs', ...(end.notCarried.length > 0 ? [end.notCarried.join('; ')] : [])].join(': ');
    case 'no-permitted-address':
      return 'The answer names no address that may be spoken to';
    case 'no-media':
      return 'No media have come from the server';
    case 'local-missing':
      return 'Stream not found';
    case 'local-busy':
      return 'Stream name is already in use';
    case 'local-reserved':
      return 'The local stream name belongs to somebody else; choose another one';
    case 'local-ended':
      return `The local stream has ended (${EndReason[end.reason]})`;
    case 'local-failed':
      return `The media core failed: ${end.detail}`;
    default:
      return end satisfies never;
  }
};

const MEDIA_REASONS: Readonly<Record<TransportEnd, string>> = {
  'ice-failed': 'Failed by ICE error',
  'ice-lost': 'Failed by ICE keep alive',
  'dtls-failed': 'Failed by DTLS error',
  'dtls-timeout': 'Failed by DTLS error',
  'dtls-closed': 'Failed by DTLS error',
};

const remoteReason = (end: Extract<AttemptEnd, { tag: 'remote' }>['end']): string => {
  switch (end.tag) {
    case 'unreachable':
      return `The server can't be reached: ${end.detail}`;
    case 'closed':
      return `The server closed the connection (${end.code}) while ${end.during}`;
    case 'lost':
      return `The connection to the server was lost (${end.code})`;
    case 'refused':
      return `The server refused: ${end.info}`;
    case 'ended-by-remote':
      return `The server ended the stream (${end.status}): ${end.info}`;
    case 'timed-out':
      return `The server did not answer while ${end.during}`;
    case 'silent':
      return 'The server has fallen silent';
    case 'nonsense':
      return `No WCS server answers there (${end.fault})`;
    default:
      return end satisfies never;
  }
};

/** Whether the name isn't available. The original server and weir use the same words for a name that is taken. */
export const isBusyName = (end: AttemptEnd): boolean =>
  end.tag === 'local-busy' ||
  end.tag === 'local-reserved' ||
  (end.tag === 'remote' && end.end.tag === 'refused' && /already in use/i.test(end.end.info));

export const isUnknownName = (end: AttemptEnd): boolean =>
  end.tag === 'local-missing' ||
  (end.tag === 'remote' && end.end.tag === 'refused' && /stream not found/i.test(end.end.info));
