import { hostname as machineName } from 'node:os';
import ipaddr from 'ipaddr.js';
import { GatewayError } from './gateway-error.js';

/** Stands in a list for what belongs to this machine. */
const LOCAL = 'local';
const ALL = '*';

/** Where a request comes from and goes to, as a browser tells it. */
export interface Addressing {
  /** The Origin header: the site of the page that asks. Other clients send none. */
  readonly origin: string | undefined;
  /** What the request is addressed to, with the port when there is one. */
  readonly host: string | undefined;
}

/**
 * Whose web pages may call the interfaces and open WebSockets, and under which names this gateway may be addressed. A
 * page of another site can do neither; under a name of its own, which it lets stand for this machine's address, it would
 * pass for one of the gateway's.
 */
export class AllowedSites {
  private readonly origins: ReadonlySet<string>;
  private readonly hosts: ReadonlySet<string>;

  /** @param lists names, `*` for all and `local` for this machine's */
  constructor(lists: { origins: readonly string[]; hosts: readonly string[] }) {
    this.origins = new Set(lists.origins.map(normalOrigin));
    this.hosts = new Set(lists.hosts.map((host) => host.toLowerCase()));
  }

  get areAll(): boolean {
    return this.origins.has(ALL);
  }

  /** @throws GatewayError for a name that isn't this gateway's */
  checkHost(host: string | undefined): void {
    const name = hostnameOf(host);
    if (name === undefined || this.hosts.has(ALL) || this.hosts.has(name)) return;
    if (this.hosts.has(LOCAL) && (isLoopback(name) || ipaddr.isValid(bare(name)) || isMachineName(name))) return;
    throw new GatewayError(
      'HOST_NOT_ALLOWED',
      `this gateway isn't addressed as ${name}; if it should be, add the name to WEIR_ALLOWED_HOSTS`,
    );
  }

  /** Whether pages of that origin may ask, wherever the gateway was addressed as `host`. */
  allows({ origin, host }: Addressing): boolean {
    if (origin === undefined || this.areAll || this.origins.has(normalOrigin(origin))) return true;
    const name = URL.canParse(origin) ? hostnameOf(new URL(origin).host) : undefined;
    if (name === undefined) return false;
    return name === hostnameOf(host) || (this.origins.has(LOCAL) && isLoopback(name));
  }

  /** @throws GatewayError for a page of another site */
  checkOrigin(addressing: Addressing): void {
    if (this.allows(addressing)) return;
    throw new GatewayError(
      'ORIGIN_NOT_ALLOWED',
      'pages of this origin may not ask here; if they should, add it to WEIR_CORS_ORIGINS',
    );
  }
}

const normalOrigin = (origin: string): string => origin.toLowerCase().replace(/\/$/, '');

/** Without the port, in lower case. */
function hostnameOf(host: string | undefined): string | undefined {
  return /^(\[[^\]]+\]|[^:]+?)\.?(?::\d+)?$/.exec(host?.toLowerCase() ?? '')?.[1];
}

const bare = (name: string): string => name.replace(/^\[|\]$/g, '');

function isLoopback(name: string): boolean {
  if (name === 'localhost' || name.endsWith('.localhost')) return true;
  return ipaddr.isValid(bare(name)) && ipaddr.process(bare(name)).range() === 'loopback';
}

function isMachineName(name: string): boolean {
  const own = machineName().toLowerCase();
  return name === own || name === `${own}.local`;
}
