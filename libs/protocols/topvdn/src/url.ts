import { LENGTHS } from './settings.js';
import { parseToken, type ParsedToken } from './token.js';

/** The URL of a device that can be called. */
export interface CallUrl {
  /** Of the tracker to which the device is connected: an address or a host name, IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
  /** The device's token, as text. */
  readonly token: string;
}

export type UrlRefusal =
  | 'too-long'
  /** It doesn't begin with `topvdn://`, a host and a port. */
  | 'not-a-topvdn-url'
  | 'wrong-port'
  /** A user, a path, a fragment, or characters that no such URL has. */
  | 'unexpected-part'
  | 'repeated-parameter'
  /** Only QSUP, 1, is for calls. */
  | 'wrong-protocol-type'
  | 'no-token'
  | 'malformed-token';

export type UrlReading =
  | { readonly tag: 'url'; readonly url: CallUrl; readonly token: ParsedToken }
  | { readonly tag: 'refused'; readonly reason: UrlRefusal };

const refused = (reason: UrlRefusal): UrlReading => ({ tag: 'refused', reason });

const AUTHORITY = /^topvdn:\/\/(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9](?:[a-z0-9.-]{0,252})?)):(\d{1,5})(.*)$/is;
const QUERY = /^\/?\?([\x20-\x7e]*)$/;
const PARAMETER = /^([A-Za-z][A-Za-z0-9_]{0,31})=([A-Za-z0-9_.:-]*)$/;

/**
 * Reads the URL with which a device is called. Its parameters may come in any order, and with the blanks around them that
 * the vendor's samples have. Parameters that a call doesn't need are ignored.
 */
export const parseCallUrl = (text: string): UrlReading => {
  if (text.length > LENGTHS.url) return refused('too-long');
  const [, ipv6, name, portText, rest = ''] = AUTHORITY.exec(text.trim()) ?? [];
  const host = ipv6 ?? name;
  if (host === undefined) return refused('not-a-topvdn-url');
  const port = Number(portText);
  if (port < 1 || port > 65_535) return refused('wrong-port');
  const query = QUERY.exec(rest)?.[1];
  if (query === undefined) return refused('unexpected-part');
  const parameters = new Map<string, string>();
  for (const pair of query.split('&')) {
    const [, key, value] = PARAMETER.exec(pair.trim()) ?? [];
    if (key === undefined || value === undefined) return refused('unexpected-part');
    if (parameters.has(key)) return refused('repeated-parameter');
    parameters.set(key, value);
  }
  if (parameters.get('protocolType') !== '1') return refused('wrong-protocol-type');
  const token = parameters.get('token');
  if (token === undefined || token === '') return refused('no-token');
  const reading = parseToken(token);
  return reading.tag === 'refused'
    ? refused('malformed-token')
    : { tag: 'url', url: { host, port, token }, token: reading.token };
};

/** The URL of a device, as the vendor's samples order it. */
export const formatCallUrl = ({ host, port, token }: CallUrl): string =>
  `topvdn://${host.includes(':') ? `[${host}]` : host}:${port}?protocolType=1&token=${token}`;
