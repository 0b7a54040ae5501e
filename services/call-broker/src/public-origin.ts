import type { Endpoint } from '@weir/protocol-topvdn';
import type { FastifyRequest } from 'fastify';

/** Where clients reach the platform, without a slash at the end: as the setting says, or as the request was made. */
export const publicOrigin = (
  publicUrl: string | undefined,
  { headers, protocol, host }: Pick<FastifyRequest, 'headers' | 'protocol' | 'host'>,
): string => {
  if (publicUrl !== undefined) return publicUrl;
  const forwarded = (name: string): string | undefined => headers[name]?.toString().split(',')[0]?.trim();
  return `${forwarded('x-forwarded-proto') ?? protocol}://${forwarded('x-forwarded-host') ?? host}`;
};

const DEFAULT_PORTS: Readonly<Record<string, number>> = { 'http:': 80, 'https:': 443 };

/** The host and port of such an origin; devices open their channel there. */
export const endpointOf = (origin: string): Endpoint => {
  const { protocol, hostname, port } = new URL(origin);
  const host = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
  return { host, port: port === '' ? (DEFAULT_PORTS[protocol] ?? 0) : Number(port) };
};
