import { lookup as resolveByDns } from 'node:dns/promises';
import type { LookupAddress } from 'node:dns';
import type { LookupFunction } from 'node:net';
import { isPublic, parseAddress, type Address } from './address-range.js';
import { allowsAddress, allowsHost, allowsPort, type AllowList } from './allow-list.js';
import { guardedFetch, type OutboundRequest, type OutboundResponse } from './guarded-fetch.js';
import { OutboundFailed, OutboundRefused } from './outbound-error.js';
import { demandPlainHost, endpointOf } from './outbound-url.js';

/** A single port or a range `[first, last]`. */
export type PortRule = number | readonly [first: number, last: number];

export interface OutboundPolicy {
  /** Schemes without the colon, for example `https`. */
  readonly schemes: readonly string[];
  /** Default: the scheme's own ports, and 1024 to 65535. */
  readonly ports?: readonly PortRule[];
  /** Whether the URL may hold `user:password@`, as the rtsp URLs of cameras do. Default: refuse. */
  readonly credentials?: 'refuse' | 'allow';
  readonly signal?: AbortSignal;
}

/** A destination that passed. Connect with `lookup` (net, tls, http, ws and undici accept it) or to `addresses`. */
export interface OutboundTarget {
  readonly host: string;
  readonly port: number;
  readonly addresses: readonly LookupAddress[];
  /** Answers with the checked addresses and for this host only: the name isn't resolved a second time. */
  readonly lookup: LookupFunction;
}

export type Resolve = (host: string) => Promise<readonly LookupAddress[]>;

export interface OutboundGuardOptions {
  readonly allow?: AllowList;
  readonly resolve?: Resolve;
  readonly resolveTimeoutMs?: number;
}

const RESOLVE_TIMEOUT_MS = 5_000;
const UNPRIVILEGED: PortRule = [1024, 65_535];
/** The ports below 1024 of each scheme, its default first. */
const SCHEME_PORTS: Readonly<Record<string, readonly [number, ...number[]]>> = {
  http: [80],
  https: [443],
  ws: [80],
  wss: [443],
  rtsp: [554],
  // Some cameras speak TLS on the port of plain RTSP or on that of HTTPS.
  rtsps: [322, 554, 443],
};

const systemResolve: Resolve = (host) => resolveByDns(host, { all: true, order: 'verbatim' });

const portsOf = (scheme: string | undefined): readonly PortRule[] => [
  ...((scheme === undefined ? undefined : SCHEME_PORTS[scheme]) ?? []),
  UNPRIVILEGED,
];

const isWithin = (rules: readonly PortRule[], port: number): boolean =>
  rules.some((rule) => (typeof rule === 'number' ? rule === port : port >= rule[0] && port <= rule[1]));

const pinnedLookup =
  (host: string, addresses: readonly LookupAddress[]): LookupFunction =>
  (hostname, options, callback) => {
    const family = options.family === 'IPv4' ? 4 : options.family === 'IPv6' ? 6 : (options.family ?? 0);
    const fitting = addresses.filter((address) => family === 0 || address.family === family);
    const first = fitting[0];
    if (hostname.toLowerCase() !== host.toLowerCase() || first === undefined) {
      callback(new OutboundRefused('address', hostname), []);
    } else if (options.all === true) {
      callback(null, fitting);
    } else {
      callback(null, first.address, first.family);
    }
  };

/** Waits for the work until the time-out or the signal ends the wait. */
const bounded = async <T>(work: Promise<T>, host: string, timeoutMs: number, signal?: AbortSignal): Promise<T> => {
  const timeout = AbortSignal.timeout(timeoutMs);
  const ended = signal === undefined ? timeout : AbortSignal.any([timeout, signal]);
  let stop: () => void = () => undefined;
  const over = new Promise<never>((_resolve, reject) => {
    stop = () => reject(new OutboundFailed(timeout.aborted ? 'timeout' : 'aborted', host, { cause: ended.reason }));
    if (ended.aborted) stop();
    else ended.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([work, over]);
  } finally {
    ended.removeEventListener('abort', stop);
  }
};

/**
 * Checks every destination that a user gives: relays, cameras, webhooks, uploads. Only destinations on the public
 * internet pass, and those that the operator's allow list opens. A name is resolved once and the connection goes to the
 * checked addresses, so a different second answer of the name server has no effect.
 */
export class OutboundGuard {
  readonly #allow: AllowList;
  readonly #resolve: Resolve;
  readonly #resolveTimeoutMs: number;

  constructor(options: OutboundGuardOptions = {}) {
    this.#allow = options.allow ?? [];
    this.#resolve = options.resolve ?? systemResolve;
    this.#resolveTimeoutMs = options.resolveTimeoutMs ?? RESOLVE_TIMEOUT_MS;
  }

  /** Throws OutboundRefused, or OutboundFailed when the name can't be resolved. */
  async check(url: string | URL, policy: OutboundPolicy): Promise<OutboundTarget> {
    const { scheme, host, port, hasCredentials } = endpointOf(url);
    if (!policy.schemes.includes(scheme)) throw new OutboundRefused('scheme', scheme);
    if (hasCredentials && policy.credentials !== 'allow') throw new OutboundRefused('credentials', host);
    const targetPort = port ?? SCHEME_PORTS[scheme]?.[0];
    if (targetPort === undefined) throw new OutboundRefused('port', 'none');
    return this.#checkEndpoint(host, targetPort, policy.ports ?? portsOf(scheme), policy.signal);
  }

  /**
   * The same check for a host and port that don't come from a URL. An IPv6 address has no brackets. The scheme decides
   * which ports below 1024 are allowed; without a scheme none are.
   */
  async checkHost(
    host: string,
    port: number,
    { scheme, ports = portsOf(scheme), signal }: Pick<OutboundPolicy, 'ports' | 'signal'> & { scheme?: string } = {},
  ): Promise<OutboundTarget> {
    demandPlainHost(host);
    return this.#checkEndpoint(host, port, ports, signal);
  }

  /** Makes an HTTP request under the same rules; they apply to its redirects too. OutboundRequest has the limits. */
  fetch(url: string | URL, request: OutboundRequest = {}): Promise<OutboundResponse> {
    return guardedFetch(this, url, request);
  }

  async #checkEndpoint(
    host: string,
    port: number,
    ports: readonly PortRule[],
    signal: AbortSignal | undefined,
  ): Promise<OutboundTarget> {
    if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new OutboundRefused('port', String(port));
    const addresses = await this.#addressesOf(host, signal);
    const parsed = addresses.map(({ address }) => this.#parsed(address));
    if (!isWithin(ports, port) && !allowsPort(this.#allow, host, parsed, port)) {
      throw new OutboundRefused('port', String(port));
    }
    if (!allowsHost(this.#allow, host, port)) this.#demandOpen(parsed, port);
    return { host, port, addresses, lookup: pinnedLookup(host, addresses) };
  }

  /** Refuses the host if any of its addresses is forbidden, because a client may connect to any of them. */
  #demandOpen(addresses: readonly Address[], port: number): void {
    const closed = addresses.find((address) => !isPublic(address) && !allowsAddress(this.#allow, address, port));
    if (closed !== undefined) throw new OutboundRefused('address', closed.toString());
  }

  #parsed(text: string): Address {
    const address = parseAddress(text);
    if (address === undefined) throw new OutboundRefused('address', text);
    return address;
  }

  async #addressesOf(host: string, signal: AbortSignal | undefined): Promise<readonly LookupAddress[]> {
    const literal = parseAddress(host);
    if (literal !== undefined) return [{ address: host, family: host.includes(':') ? 6 : 4 }];
    const addresses = await bounded(this.#resolved(host), host, this.#resolveTimeoutMs, signal);
    if (addresses.length === 0) throw new OutboundFailed('unresolved', host);
    return addresses;
  }

  async #resolved(host: string): Promise<readonly LookupAddress[]> {
    try {
      return await this.#resolve(host);
    } catch (cause) {
      throw new OutboundFailed('unresolved', host, { cause });
    }
  }
}

/**
 * For a destination that is only stored now and used later: the reason why it would be refused. Undefined when it would
 * be allowed, and when its name can't be resolved now, because it may be resolvable later.
 */
export const refusalOf = async (checked: Promise<OutboundTarget>): Promise<OutboundRefused | undefined> => {
  try {
    await checked;
    return undefined;
  } catch (error) {
    if (error instanceof OutboundRefused) return error;
    if (error instanceof OutboundFailed) return undefined;
    throw error;
  }
};
