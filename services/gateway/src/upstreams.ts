import { Agent, type Dispatcher } from 'undici';
import type { EdgeLog } from './edge-log.js';
import { GatewayError } from './gateway-error.js';
import type { ServiceName } from './routes.js';

const KEEP_ALIVE_MS = 4_000;

/**
 * The services behind the gateway: their addresses, the connections to them and the number of requests that each is
 * working on. A failed service is asked again with every request, so it is back with its first answer; the gateway
 * remembers a failure only to log it once.
 */
export class Upstreams {
  /**
   * Pools of open connections, one for each service. A request never waits for another's connection, because that
   * request's client may determine how long it takes. The number of requests is limited instead.
   */
  readonly #agent: Agent;
  readonly #inFlight = new Map<ServiceName, number>();
  readonly #failing = new Set<ServiceName>();

  constructor(
    private readonly options: {
      urls: ReadonlyMap<ServiceName, URL>;
      timeoutMs: number;
      connectTimeoutMs: number;
      maxInFlight: number;
      log: EdgeLog;
    },
  ) {
    this.#agent = new Agent({
      pipelining: 1,
      // Shorter than the 5 s after which a Node server closes an idle connection, so that no closing one is used.
      keepAliveTimeout: KEEP_ALIVE_MS,
      keepAliveMaxTimeout: KEEP_ALIVE_MS,
      headersTimeout: options.timeoutMs,
      bodyTimeout: options.timeoutMs,
      connect: { timeout: options.connectTimeoutMs },
    });
  }

  get configured(): ReadonlyMap<ServiceName, URL> {
    return this.options.urls;
  }

  /** @throws GatewayError if this installation doesn't have the service */
  url(service: ServiceName): URL {
    const url = this.options.urls.get(service);
    if (url === undefined)
      throw new GatewayError('SERVICE_NOT_CONFIGURED', `${service} isn't part of this installation`);
    return url;
  }

  /** @throws whatever undici throws, or the signal's reason */
  request(service: ServiceName, request: Omit<Dispatcher.RequestOptions, 'origin'>): Promise<Dispatcher.ResponseData> {
    return this.#agent.request({ origin: this.url(service).origin, ...request });
  }

  /**
   * Counts a request to the service; the returned function ends it, and later calls do nothing.
   * @throws GatewayError if the service has too many requests
   */
  begin(service: ServiceName): () => void {
    const count = this.#inFlight.get(service) ?? 0;
    if (count >= this.options.maxInFlight)
      throw new GatewayError('OVERLOADED', `${service} has too many requests at the moment`, { retryAfterS: 1 });
    this.#inFlight.set(service, count + 1);
    let ended = false;
    return () => {
      if (ended) return;
      ended = true;
      this.#inFlight.set(service, (this.#inFlight.get(service) ?? 1) - 1);
    };
  }

  answered(service: ServiceName): void {
    if (this.#failing.delete(service)) this.options.log.info({ upstream: service }, 'service answers again');
  }

  failed(service: ServiceName, error: unknown): void {
    if (this.#failing.has(service)) return;
    this.#failing.add(service);
    this.options.log.warn({ upstream: service, error: reasonOf(error) }, 'service does not answer');
  }

  close(): Promise<void> {
    return this.#agent.destroy();
  }
}

/** The innermost message of an error. */
export function reasonOf(error: unknown): string {
  let reason = error;
  while (reason instanceof Error && reason.cause instanceof Error) reason = reason.cause;
  if (!(reason instanceof Error)) return String(reason);
  return reason.message === '' && 'code' in reason ? String(reason.code) : reason.message;
}
