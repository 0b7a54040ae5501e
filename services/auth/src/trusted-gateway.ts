import ipaddr from 'ipaddr.js';

type Range = readonly [address: ipaddr.IPv4 | ipaddr.IPv6, bits: number];

const rangeOf = (text: string): Range => {
  if (text.includes('/')) return ipaddr.parseCIDR(text);
  const address = ipaddr.process(text);
  return [address, address.kind() === 'ipv4' ? 32 : 128];
};

/**
 * Decides whose X-Forwarded-For is trusted. Fastify asks for each address, starting with the nearest; if that is the
 * gateway, the whole header is trusted. The gateway passes on only what it trusts itself, with the client first, so this
 * service needn't know the proxies in front of the gateway. Throws for a text that is neither an address nor a range.
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
