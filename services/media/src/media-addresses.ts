import { BlockList, isIP } from 'node:net';
import type { types as mediasoup } from 'mediasoup';

/** An address of this machine, as `os.networkInterfaces()` returns it. */
export interface LocalAddress {
  address: string;
  family: 'IPv4' | 'IPv6';
  internal: boolean;
  scopeid?: number;
}

export interface MediaListener {
  protocol: mediasoup.TransportProtocol;
  ip: string;
  /** Whether it shares its port with listeners on other addresses, one of which is a wildcard. */
  shared: boolean;
}

export interface MediaAddresses {
  listeners: readonly MediaListener[];
  /** The addresses that clients get, best first. What they send there arrives at the UDP and TCP listeners on `ip`. */
  announced: readonly { address: string; ip: Record<mediasoup.TransportProtocol, string> }[];
}

const WILDCARDS: Record<LocalAddress['family'], string> = { IPv4: '0.0.0.0', IPv6: '::' };

/**
 * Decides where to listen, so that every answer leaves from the address that the client wrote to. A UDP socket on a
 * wildcard sends from the address that the route prefers, and clients drop packets from another address than the one
 * they asked (RFC 8445 §7.2.5.2.1). So each announced address of this machine has a socket of its own. What clients
 * send to a name or to a translated address may arrive at any address of the machine: each of these has a socket, and
 * the wildcard receives for addresses that the machine gets later. TCP needs none of this.
 * @param host the address to listen on; only for a wildcard this function chooses the addresses
 */
export function mediaAddresses(
  host: string,
  announced: readonly string[],
  local: readonly LocalAddress[],
): MediaAddresses {
  if (host !== WILDCARDS.IPv4 && host !== WILDCARDS.IPv6)
    return {
      listeners: [
        { protocol: 'udp', ip: host, shared: false },
        { protocol: 'tcp', ip: host, shared: false },
      ],
      announced: announced.map((address) => ({ address, ip: { udp: host, tcp: host } })),
    };
  const isOwn = ownAddresses(local);
  const wildcardOf = (address: string) => {
    const family = isIP(address) === 0 ? (host === WILDCARDS.IPv6 ? 'IPv6' : 'IPv4') : familyOf(address);
    return WILDCARDS[family];
  };
  const wildcards = new Set(announced.filter((address) => !isOwn(address)).map(wildcardOf));
  const udp = new Set(announced.filter(isOwn));
  for (const wildcard of wildcards) {
    udp.add(wildcard);
    const reachable = local.filter(({ family, internal, scopeid = 0 }) => {
      return WILDCARDS[family] === wildcard && !internal && scopeid === 0;
    });
    if (reachable.length > 1) for (const { address } of reachable) udp.add(address);
  }
  const tcpOf = (address: string) => (wildcards.has(wildcardOf(address)) ? wildcardOf(address) : address);
  const tcp = new Set(announced.map(tcpOf));
  const sharesPort = (ip: string) =>
    wildcards.has(wildcardOf(ip)) && [...udp].filter((other) => wildcardOf(other) === wildcardOf(ip)).length > 1;
  return {
    listeners: [
      ...[...udp].map((ip) => ({ protocol: 'udp' as const, ip, shared: sharesPort(ip) })),
      ...[...tcp].map((ip) => ({ protocol: 'tcp' as const, ip, shared: false })),
    ],
    announced: announced.map((address) => ({
      address,
      ip: { udp: isOwn(address) ? address : wildcardOf(address), tcp: tcpOf(address) },
    })),
  };
}

/**
 * @param listening mediasoup's candidates: one for each listener, with the address that it listens on
 * @returns a candidate for each announced address and protocol that has a listener, UDP first
 */
export function announcedCandidates(
  { announced }: MediaAddresses,
  listening: readonly mediasoup.IceCandidate[],
): mediasoup.IceCandidate[] {
  const protocols = ['udp', 'tcp'] as const;
  return protocols.flatMap((protocol) =>
    announced.flatMap(({ address, ip }, index) => {
      const candidate = listening.find((each) => each.protocol === protocol && each.address === ip[protocol]);
      if (candidate === undefined) return [];
      const foundation = `${protocol}${index + 1}`;
      return [{ ...candidate, ip: address, address, foundation, priority: hostPriority(protocol, index) }];
    }),
  );
}

/** The priority of a host candidate of component 1 (RFC 8445 §5.1.2.1): UDP before TCP, then earlier addresses. */
const hostPriority = (protocol: mediasoup.TransportProtocol, index: number): number =>
  126 * 2 ** 24 + ((protocol === 'udp' ? 0xffff : 0x7fff) - index) * 2 ** 8 + 255;

/** The address as a URL's host: an IPv6 address is in brackets. */
export const urlHost = (address: string): string => (isIP(address) === 6 ? `[${address}]` : address);

const familyOf = (address: string): LocalAddress['family'] => (isIP(address) === 6 ? 'IPv6' : 'IPv4');

function ownAddresses(local: readonly LocalAddress[]): (address: string) => boolean {
  const own = new BlockList();
  own.addSubnet('127.0.0.0', 8);
  for (const { address, family } of local) own.addAddress(address, family === 'IPv6' ? 'ipv6' : 'ipv4');
  return (address) => isIP(address) !== 0 && own.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
}
