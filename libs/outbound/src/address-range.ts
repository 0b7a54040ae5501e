import ipaddr from 'ipaddr.js';

export type Address = ipaddr.IPv4 | ipaddr.IPv6;

/** Public addresses at which a cloud serves its own machines' metadata. */
const PLATFORM_ADDRESSES = new Set(['168.63.129.16']);
const GLOBAL_UNICAST_V6: [ipaddr.IPv6, number] = [ipaddr.IPv6.parse('2000::'), 3];
/** RFC 6052's well-known prefix: an IPv6-only network writes an IPv4 address behind it. */
const NAT64: [ipaddr.IPv6, number] = [ipaddr.IPv6.parse('64:ff9b::'), 96];

/**
 * The address that packets really go to. An IPv4 address inside IPv4-mapped IPv6 or the NAT64 prefix is unwrapped, so
 * that the rules for IPv4 apply to it. Undefined when the text isn't an address or has a zone.
 */
export const parseAddress = (text: string): Address | undefined => {
  if (text.includes('%')) return undefined;
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) {
    const address = ipaddr.IPv4.parse(text);
    return address.toString() === text ? address : undefined;
  }
  if (!ipaddr.IPv6.isValid(text)) return undefined;
  const address = ipaddr.IPv6.parse(text);
  if (address.isIPv4MappedAddress()) return address.toIPv4Address();
  return address.match(NAT64) ? new ipaddr.IPv4(address.toByteArray().slice(12)) : address;
};

/** Whether the address is known to belong to the public internet. */
export const isPublic = (address: Address): boolean => {
  if (PLATFORM_ADDRESSES.has(address.toString()) || address.range() !== 'unicast') return false;
  return address instanceof ipaddr.IPv4 || address.match(GLOBAL_UNICAST_V6);
};

/** A network such as `10.0.0.0/8`, or a single address. */
export type Network = [Address, number];

export const parseNetwork = (text: string): Network | undefined => {
  const [base = '', bits, ...rest] = text.split('/');
  const address = parseAddress(base);
  if (address === undefined || rest.length > 0) return undefined;
  const width = address instanceof ipaddr.IPv4 ? 32 : 128;
  if (bits === undefined) return [address, width];
  const length = /^\d{1,3}$/.test(bits) ? Number(bits) : Number.NaN;
  return length <= width ? [address, length] : undefined;
};

export const isIn = (address: Address, network: Network): boolean =>
  address.kind() === network[0].kind() && address.match(network);
