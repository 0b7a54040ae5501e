import type { Buffer } from 'node:buffer';
import { RtspHeaders } from './headers.js';
import type { RtspProtocolError } from './protocol-error.js';

/** The methods of RFC 2326 that weir knows; other methods are answered with 501. */
export const RTSP_METHODS = [
  'OPTIONS',
  'DESCRIBE',
  'ANNOUNCE',
  'SETUP',
  'PLAY',
  'RECORD',
  'PAUSE',
  'TEARDOWN',
  'GET_PARAMETER',
  'SET_PARAMETER',
  'REDIRECT',
] as const;
export type RtspMethod = (typeof RTSP_METHODS)[number];

export function isRtspMethod(method: string): method is RtspMethod {
  return RTSP_METHODS.some((known) => known === method);
}

export interface RtspRequest {
  readonly tag: 'request';
  /** As it was sent; methods are case-sensitive (RFC 2326, 6.1). */
  readonly method: string;
  /** As it was sent: absolute, or `*`. */
  readonly url: string;
  readonly headers: RtspHeaders;
  readonly body: Buffer;
}

export interface RtspResponse {
  readonly tag: 'response';
  readonly status: number;
  readonly reason: string;
  readonly headers: RtspHeaders;
  readonly body: Buffer;
}

/** RFC 2326, 10.12. `data` is a view: copy it before you keep it for long. */
export interface InterleavedFrame {
  readonly tag: 'interleaved';
  readonly channel: number;
  readonly data: Buffer;
}

/** The last event of a byte stream that stopped being RTSP: the bytes after it aren't read. */
export interface MalformedInput {
  readonly tag: 'malformed';
  readonly error: RtspProtocolError;
  /** CSeq of the malformed message, if it could be read. */
  readonly cseq: number | undefined;
}

export type RtspEvent = RtspRequest | RtspResponse | InterleavedFrame | MalformedInput;

const REASONS: Readonly<Record<number, string>> = {
  200: 'OK',
  301: 'Moved Permanently',
  302: 'Moved Temporarily',
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  406: 'Not Acceptable',
  413: 'Request Entity Too Large',
  414: 'Request-URI Too Long',
  415: 'Unsupported Media Type',
  451: 'Parameter Not Understood',
  453: 'Not Enough Bandwidth',
  454: 'Session Not Found',
  455: 'Method Not Valid In This State',
  459: 'Aggregate Operation Not Allowed',
  461: 'Unsupported Transport',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  503: 'Service Unavailable',
  505: 'RTSP Version Not Supported',
  551: 'Option Not Supported',
};

export function reasonOf(status: number): string {
  return REASONS[status] ?? 'Unknown';
}

/** The CSeq of a message; undefined if it is missing or isn't a number of at most ten digits. */
export function cseqOf(message: RtspRequest | RtspResponse): number | undefined {
  const text = message.headers.get('CSeq')?.trim();
  return text !== undefined && /^\d{1,10}$/.test(text) ? Number(text) : undefined;
}
