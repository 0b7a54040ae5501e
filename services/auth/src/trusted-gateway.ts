import ipaddr from 'ipaddr.js';

type Range = readonly [address: ipaddr.IPv4 | ipaddr.IPv6, bits: number];

const rangeOf = (text: string): Range => {
  if (text.includes('/')) return ipaddr.parseCIDR(text);
  const address = ipaddr.process(text);
  return [address, address.kind() === 'ipv4' ? 32 : 128];
};

/**
 * Whose X-Forwarded-For is believed, as Fastify asks for each address from the nearest one on: the gateway's, all of it.
 * It passes on only what it believes itself, with the client first, so the proxies in front of it needn't be known here.
 * Throws for what is no address and no range.
 */
export const trustedGateway = (ranges: readonly string[]): ((address: string, hop: number) => boolean) => {
  const believed = ranges.map(rangeOf);
  return (address, hop) => {
    if (hop > 0) return true;
    if (!ipaddr.isValid(address)) return false;
    const parsed = ipaddr.process(address);
    return believed.some(([range, bits]) => range.kind() === parsed.kind() && parsed.match(range, bits));
  };
};
