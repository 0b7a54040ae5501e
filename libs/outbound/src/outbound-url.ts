import { parseAddress } from './address-range.js';
import { OutboundRefused } from './outbound-error.js';

export interface Endpoint {
  readonly scheme: string;
  /** Without the brackets of an IPv6 address. */
  readonly host: string;
  /** Undefined for the scheme's default port. */
  readonly port: number | undefined;
  readonly hasCredentials: boolean;
}

/**
 * URL parsers disagree most about white space, control characters and backslashes. Half of a surrogate pair isn't a
 * character, and no database stores it.
 */
// eslint-disable-next-line no-control-regex
const FORBIDDEN = /[\u0000-\u0020\u007f\\]|\p{Surrogate}/u;
const AUTHORITY = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i;
const NUMERIC_LABEL = /^(?:\d+|0x[0-9a-f]*)$/i;
const HOST_NAME = /^(?=.{1,253}\.?$)[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?\.?$/i;

/** The host as it was written, before a URL parser has normalised it. */
const writtenHost = (url: string): string => {
  const authority = AUTHORITY.exec(url)?.[1];
  if (authority === undefined) throw new OutboundRefused('malformed', 'URL');
  const endpoint = authority.slice(authority.lastIndexOf('@') + 1);
  return endpoint.startsWith('[') ? endpoint : endpoint.replace(/:\d*$/, '');
};

/** `127.1`, `0177.0.0.1`, `2130706433`, `0x7f000001`: some parsers read an address, others a name. */
const isOddNumber = (host: string): boolean => {
  const labels = host.replace(/\.$/, '').split('.');
  return NUMERIC_LABEL.test(labels.at(-1) ?? '') && parseAddress(host) === undefined;
};

/** @throws OutboundRefused for a host that parsers read in different ways */
export const demandPlainHost = (host: string): void => {
  if (host === '') throw new OutboundRefused('malformed', 'URL without a host');
  if (host.includes('%') || isOddNumber(host)) throw new OutboundRefused('ambiguous-host', host);
};

const parseUrl = (text: string): URL => {
  if (FORBIDDEN.test(text) || !URL.canParse(text)) throw new OutboundRefused('malformed', 'URL');
  return new URL(text);
};

/** Reads the parts of a URL that decide where a connection goes. Throws OutboundRefused. */
export const endpointOf = (input: string | URL): Endpoint => {
  const text = input.toString();
  const url = parseUrl(text);
  if (!url.hostname.startsWith('[')) demandPlainHost(writtenHost(text));
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  demandPlainHost(host);
  if (parseAddress(host) === undefined && !HOST_NAME.test(host)) throw new OutboundRefused('malformed', 'host');
  return {
    scheme: url.protocol.slice(0, -1),
    host,
    port: url.port === '' ? undefined : Number(url.port),
    hasCredentials: url.username !== '' || url.password !== '',
  };
};
