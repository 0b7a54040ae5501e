import { isIn, parseNetwork, type Address, type Network } from './address-range.js';

/** An operator's exception from the rule that the platform connects only to the public internet. */
export type AllowRule =
  | { readonly tag: 'network'; readonly network: Network; readonly port: number | undefined }
  | { readonly tag: 'host'; readonly host: string; readonly port: number | undefined };

export type AllowList = readonly AllowRule[];

const BRACKETED = /^\[([0-9a-f:.]+(?:\/\d+)?)\](?:(\/\d+))?(?::(\d+))?$/i;
const PLAIN = /^([^:[\]]+)(?::(\d+))?$/;
const HOST = /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*$/i;

const parsePort = (text: string | undefined): number | undefined => (text === undefined ? undefined : Number(text));
const isPort = (port: number | undefined): boolean => port === undefined || (port >= 1 && port <= 65_535);

const parseRule = (entry: string): AllowRule | undefined => {
  const bare = parseNetwork(entry);
  if (bare !== undefined) return { tag: 'network', network: bare, port: undefined };
  const bracketed = BRACKETED.exec(entry);
  const [text, port] = bracketed
    ? [`${bracketed[1] ?? ''}${bracketed[2] ?? ''}`, parsePort(bracketed[3])]
    : [PLAIN.exec(entry)?.[1], parsePort(PLAIN.exec(entry)?.[2])];
  if (text === undefined || !isPort(port)) return undefined;
  const network = parseNetwork(text);
  if (network !== undefined) return { tag: 'network', network, port };
  const looksNumeric = /^[\d./]+$/.test(text);
  return !bracketed && !looksNumeric && HOST.test(text) ? { tag: 'host', host: text.toLowerCase(), port } : undefined;
};

/**
 * Entries separated by commas: an address or network (`10.1.2.3`, `127.0.0.0/8`, `[::1]`, `fd00::/8`) or a host name
 * (`store.example`), each with or without a port (`store.example:8443`, `[::1]:9000`). A rule with a port opens only
 * that port, even one that the caller's policy excludes; a rule without a port leaves the ports to the policy.
 * Throws a RangeError that lists every malformed entry.
 */
export const parseAllowList = (text: string): AllowList => {
  const entries = text
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');
  const wrong = entries.filter((entry) => parseRule(entry) === undefined);
  if (wrong.length > 0) throw new RangeError(`Not an address, network or host[:port]: ${wrong.join(', ')}`);
  return entries.flatMap((entry) => parseRule(entry) ?? []);
};

const opensPort = (rule: AllowRule, port: number): boolean => rule.port === undefined || rule.port === port;

export const allowsHost = (list: AllowList, host: string, port: number): boolean =>
  list.some((rule) => rule.tag === 'host' && rule.host === host.toLowerCase() && opensPort(rule, port));

export const allowsAddress = (list: AllowList, address: Address, port: number): boolean =>
  list.some((rule) => rule.tag === 'network' && isIn(address, rule.network) && opensPort(rule, port));

/** Whether rules name exactly this port for the host or for all of its addresses. */
export const allowsPort = (list: AllowList, host: string, addresses: readonly Address[], port: number): boolean => {
  const exact = list.filter((rule) => rule.port === port);
  return allowsHost(exact, host, port) || addresses.every((address) => allowsAddress(exact, address, port));
};
