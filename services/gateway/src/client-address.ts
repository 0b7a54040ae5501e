import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import ipaddr from 'ipaddr.js';

type Address = ipaddr.IPv4 | ipaddr.IPv6;

/** Where a request comes from and what it is addressed to, according to trusted sources only. */
export interface Origin {
  /** The client's IP address. */
  address: string;
  /** The port of the client's connection; undefined behind a proxy that doesn't tell it. */
  port: number | undefined;
  /** The X-Forwarded-For that the service gets: the entries of trusted proxies, and the address that connects. */
  forwardedFor: string;
  proto: 'http' | 'https';
  host: string | undefined;
}

/** The proxies in front of the gateway whose X-Forwarded-* headers are trusted. */
export class TrustedProxies {
  readonly #ranges: readonly [Address, number][];

  /** @param ranges addresses or CIDR ranges; anything else throws */
  constructor(ranges: readonly string[]) {
    this.#ranges = ranges.map((range) => {
      if (range.includes('/')) return ipaddr.parseCIDR(range);
      const address = ipaddr.process(range);
      return [address, address.kind() === 'ipv4' ? 32 : 128];
    });
  }

  includes(address: string): boolean {
    if (!ipaddr.isValid(address)) return false;
    const parsed = ipaddr.process(address);
    return this.#ranges.some(([range, bits]) => range.kind() === parsed.kind() && parsed.match(range, bits));
  }
}

/** The address at the other end of a connection. */
export const remoteAddressOf = ({ remoteAddress = '' }: Socket): string => normalAddress(remoteAddress) ?? 'unknown';

const HOST = /^[A-Za-z0-9._:[\]-]{1,255}$/;

/** Headers in which a proxy describes the client. They are never passed on unchanged. */
export const FORWARDING_HEADERS: ReadonlySet<string> = new Set([
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-server',
  'x-real-ip',
]);

/**
 * Reads X-Forwarded-For from its right end, where the nearest proxy wrote, as long as the writer is trusted. The first
 * address that isn't a trusted proxy is the client; the client may have made up anything to the left of it.
 */
export function originOf(request: IncomingMessage, trusted: TrustedProxies): Origin {
  const remote = remoteAddressOf(request.socket);
  const direct = request.socket instanceof TLSSocket ? 'https' : 'http';
  const { headers } = request;
  let port = request.socket.remotePort;
  if (!trusted.includes(remote))
    return { address: remote, port, forwardedFor: remote, proto: direct, host: sane(authorityOf(headers)) };

  const chain = [remote];
  for (const entry of list(headers, 'x-forwarded-for').reverse()) {
    const address = normalAddress(entry);
    if (address === undefined) break;
    chain.unshift(address);
    port = portIn(entry);
    if (!trusted.includes(address)) break;
  }
  const proto = list(headers, 'x-forwarded-proto').at(-1)?.toLowerCase();
  return {
    address: chain[0] ?? remote,
    port,
    forwardedFor: chain.join(', '),
    proto: proto === 'http' || proto === 'https' ? proto : direct,
    host: sane(list(headers, 'x-forwarded-host').at(-1)) ?? sane(authorityOf(headers)),
  };
}

/** In HTTP/2 the host is in a pseudo-header. */
const authorityOf = (headers: IncomingHttpHeaders): string | undefined => {
  const authority = headers[':authority'];
  return typeof authority === 'string' ? authority : headers.host;
};

const sane = (host: string | undefined): string | undefined =>
  host !== undefined && HOST.test(host) ? host : undefined;

function list(headers: IncomingHttpHeaders, name: string): string[] {
  const value = headers[name];
  return (Array.isArray(value) ? value.join(',') : (value ?? ''))
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');
}

/** The port after an address; undefined if there is none. */
function portIn(text: string): number | undefined {
  const digits = /^(?:\[[^\]]+\]|[\d.]+):(\d{1,5})$/.exec(text)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** Turns `::ffff:192.0.2.1` into `192.0.2.1` and removes a port; undefined if the text is no address. */
function normalAddress(text: string): string | undefined {
  const bare = /^\[([^\]]+)\](?::\d+)?$/.exec(text)?.[1] ?? /^([\d.]+):\d+$/.exec(text)?.[1] ?? text;
  return ipaddr.isValid(bare) ? ipaddr.process(bare).toString() : undefined;
}
