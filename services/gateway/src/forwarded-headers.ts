import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
import { FORWARDING_HEADERS, type Origin } from './client-address.js';

/** Headers that belong to one connection (RFC 9110, 7.6.1), and `Expect`, which the gateway answers itself. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'expect',
]);

/**
 * A client's headers as a service gets them, without hop-by-hop headers; only the gateway's claims about the client.
 */
export function headersForService(
  headers: IncomingHttpHeaders,
  origin: Origin,
  requestId: string,
): IncomingHttpHeaders {
  const named = connectionTokens(headers.connection);
  const kept = Object.entries(headers).filter(
    ([name]) =>
      // HTTP/2's pseudo-headers begin with a colon.
      !name.startsWith(':') && !HOP_BY_HOP.has(name) && !FORWARDING_HEADERS.has(name) && !named.has(name),
  );
  return {
    ...Object.fromEntries(kept),
    'x-request-id': requestId,
    'x-forwarded-for': origin.forwardedFor,
    ...(origin.port === undefined ? {} : { forwarded: forwardedOf(origin.address, origin.port) }),
    'x-forwarded-proto': origin.proto,
    ...(origin.host === undefined ? {} : { 'x-forwarded-host': origin.host }),
  };
}

/** The client's address and port as RFC 7239 has them; X-Forwarded-For has no usual form for a port. */
const forwardedOf = (address: string, port: number): string =>
  `for="${address.includes(':') ? `[${address}]` : address}:${port}"`;

/** A service's headers as the client gets them. The gateway itself sets the request id and the CORS headers. */
export function headersForClient<Headers extends IncomingHttpHeaders | OutgoingHttpHeaders>(headers: Headers): Headers {
  const named = connectionTokens(headers['connection']);
  const kept = Object.entries(headers).filter(
    ([name]) =>
      !HOP_BY_HOP.has(name) && !named.has(name) && !name.startsWith('access-control-') && name !== 'x-request-id',
  );
  return Object.fromEntries(kept) as Headers;
}

/** The lower-case tokens of a Connection header. */
export function connectionTokens(connection: unknown): ReadonlySet<string> {
  if (typeof connection !== 'string') return new Set();
  return new Set(connection.split(',').map((token) => token.trim().toLowerCase()));
}
