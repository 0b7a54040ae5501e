import type { Endpoint } from '@weir/protocol-topvdn';

const DEFAULT_PORTS: Readonly<Record<string, number>> = { 'http:': 80, 'https:': 443 };

/** The host and port of an origin, such as `https://host:port`; devices open their channel there. */
export const endpointOf = (origin: string): Endpoint => {
  const { protocol, hostname, port } = new URL(origin);
  const host = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
  return { host, port: port === '' ? (DEFAULT_PORTS[protocol] ?? 0) : Number(port) };
};
