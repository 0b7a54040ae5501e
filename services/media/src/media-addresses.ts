import { BlockList, isIP } from 'node:net';
import type { types as mediasoup } from 'mediasoup';

/** An address of this machine, as `os.networkInterfaces()` has it. */
export interface LocalAddress {
  address: string;
  family: 'IPv4' | 'IPv6';
  internal: boolean;
  scopeid?: number;
}

export interface MediaListener {
  protocol: mediasoup.TransportProtocol;
  ip: string;
  /** Shares its port with listeners on other addresses, one of which stands for all. */
  shared: boolean;
}

export interface MediaAddresses {
  listeners: readonly MediaListener[];
  /** What clients are told, best first: what they send there comes to the UDP and TCP listeners on `ip`. */
  announced: readonly { address: string; ip: Record<mediasoup.TransportProtocol, string> }[];
}

const WILDCARDS: Record<LocalAddress['family'], string> = { IPv4: '0.0.0.0', IPv6: '::' };

/**
 * Where to listen, so that every answer leaves from the address that the client wrote to: a UDP socket on a wildcard sends
 * from whichever address the route prefers, and clients drop what comes from another one than they have asked (RFC 8445
 * §7.2.5.2.1). So an announced address that is this machine's own has a socket of its own. What is announced otherwise, a
 * name or an address that somebody translates, may arrive at any of the machine's addresses: each has a socket, and the
 * wildcard takes what comes to addresses that the machine gets later. TCP needs none of this.
 * @param host what to listen on; on a wildcard it is decided here
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
 * @returns a candidate for each announced address and protocol that is listened for, UDP first
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

/** RFC 8445 §5.1.2.1: of a host candidate of the first component; earlier addresses are preferred, and UDP to all TCP. */
const hostPriority = (protocol: mediasoup.TransportProtocol, index: number): number =>
  126 * 2 ** 24 + ((protocol === 'udp' ? 0xffff : 0x7fff) - index) * 2 ** 8 + 255;

/** `rtsp://` and the like want IPv6 addresses in brackets. */
export const urlHost = (address: string): string => (isIP(address) === 6 ? `[${address}]` : address);

const familyOf = (address: string): LocalAddress['family'] => (isIP(address) === 6 ? 'IPv6' : 'IPv4');

function ownAddresses(local: readonly LocalAddress[]): (address: string) => boolean {
  const own = new BlockList();
  own.addSubnet('127.0.0.0', 8);
  for (const { address, family } of local) own.addAddress(address, family === 'IPv6' ? 'ipv6' : 'ipv4');
  return (address) => isIP(address) !== 0 && own.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
}
