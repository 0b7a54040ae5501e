import { hostname as machineName } from 'node:os';
import ipaddr from 'ipaddr.js';
import { GatewayError } from './gateway-error.js';

/** The entry of a list that stands for this machine's own names or pages. */
const LOCAL = 'local';
const ALL = '*';

/** The origin and the destination of a request, as the browser states them. */
export interface Addressing {
  /** The Origin header: the site of the page that makes the request. Clients other than browsers send none. */
  readonly origin: string | undefined;
  /** The host that the request is addressed to, with the port if there is one. */
  readonly host: string | undefined;
}

/**
 * Decides which sites' web pages may call the interfaces and open WebSockets, and by which names this gateway may be
 * addressed. The names matter because a site can point one of its own names at this machine's address; its pages would
 * then pass for the gateway's own (DNS rebinding).
 */
export class AllowedSites {
  readonly #origins: ReadonlySet<string>;
  readonly #hosts: ReadonlySet<string>;

  /** @param lists names; `*` stands for all, and `local` for those of this machine */
  constructor(lists: { origins: readonly string[]; hosts: readonly string[] }) {
    this.#origins = new Set(lists.origins.map(normalOrigin));
    this.#hosts = new Set(lists.hosts.map((host) => host.toLowerCase()));
  }

  get areAll(): boolean {
    return this.#origins.has(ALL);
  }

  /** @throws GatewayError if the name isn't one of this gateway's */
  checkHost(host: string | undefined): void {
    const name = hostnameOf(host);
    if (name === undefined || this.#hosts.has(ALL) || this.#hosts.has(name)) return;
    if (this.#hosts.has(LOCAL) && (isLoopback(name) || ipaddr.isValid(bare(name)) || isMachineName(name))) return;
    throw new GatewayError(
      'HOST_NOT_ALLOWED',
      `${name} isn't a name of this gateway; if it should be, add it to WEIR_ALLOWED_HOSTS`,
    );
  }

  /** Whether pages of the origin may make requests to the gateway under the name `host`. */
  allows({ origin, host }: Addressing): boolean {
    if (origin === undefined || this.areAll || this.#origins.has(normalOrigin(origin))) return true;
    const name = URL.canParse(origin) ? hostnameOf(new URL(origin).host) : undefined;
    if (name === undefined) return false;
    return name === hostnameOf(host) || (this.#origins.has(LOCAL) && isLoopback(name));
  }

  /** @throws GatewayError for a page of a site that isn't allowed */
  checkOrigin(addressing: Addressing): void {
    if (this.allows(addressing)) return;
    throw new GatewayError(
      'ORIGIN_NOT_ALLOWED',
      'pages of this origin may not make requests here; if they should, add the origin to WEIR_CORS_ORIGINS',
    );
  }
}

const normalOrigin = (origin: string): string => origin.toLowerCase().replace(/\/$/, '');

/** The host without its port, in lower case. */
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
