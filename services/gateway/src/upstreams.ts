import { Agent, type Dispatcher } from 'undici';
import type { EdgeLog } from './edge-log.js';
import { GatewayError } from './gateway-error.js';
import type { ServiceName } from './routes.js';

const KEEP_ALIVE_MS = 4_000;

/**
 * The services behind the gateway: where they are, the connections kept to them, how much work each has. Nothing is
 * remembered about a failed service but that it was said in the log, so it is back with its first answer.
 */
export class Upstreams {
  /**
   * Pools of kept connections, one for each service that was asked. A request never waits for another's connection: how
   * long that one takes may be in its client's hands. What is limited is the number of requests.
   */
  private readonly agent: Agent;
  private readonly inFlight = new Map<ServiceName, number>();
  private readonly failing = new Set<ServiceName>();

  constructor(
    private readonly options: {
      urls: ReadonlyMap<ServiceName, URL>;
      timeoutMs: number;
      connectTimeoutMs: number;
      maxInFlight: number;
      log: EdgeLog;
    },
  ) {
    this.agent = new Agent({
      pipelining: 1,
      // Shorter than the 5 s after which a Node server closes an idle connection, so that none is used while it closes.
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

  /** @throws GatewayError when this installation doesn't have the service */
  url(service: ServiceName): URL {
    const url = this.options.urls.get(service);
    if (url === undefined)
      throw new GatewayError('SERVICE_NOT_CONFIGURED', `${service} isn't part of this installation`);
    return url;
  }

  /** @throws what undici throws, and the signal's reason */
  request(service: ServiceName, request: Omit<Dispatcher.RequestOptions, 'origin'>): Promise<Dispatcher.ResponseData> {
    return this.agent.request({ origin: this.url(service).origin, ...request });
  }

  /**
   * Counts a request to the service; the returned function ends it, once.
   * @throws GatewayError when the service has too much work
   */
  begin(service: ServiceName): () => void {
    const count = this.inFlight.get(service) ?? 0;
    if (count >= this.options.maxInFlight)
      throw new GatewayError('OVERLOADED', `${service} has too many requests in work`, { retryAfterS: 1 });
    this.inFlight.set(service, count + 1);
    let ended = false;
    return () => {
      if (ended) return;
      ended = true;
      this.inFlight.set(service, (this.inFlight.get(service) ?? 1) - 1);
    };
  }

  answered(service: ServiceName): void {
    if (this.failing.delete(service)) this.options.log.info({ upstream: service }, 'service answers again');
  }

  failed(service: ServiceName, error: unknown): void {
    if (this.failing.has(service)) return;
    this.failing.add(service);
    this.options.log.warn({ upstream: service, error: reasonOf(error) }, 'service does not answer');
  }

  close(): Promise<void> {
    return this.agent.destroy();
  }
}

/** The innermost message of an error. */
export function reasonOf(error: unknown): string {
  let reason = error;
  while (reason instanceof Error && reason.cause instanceof Error) reason = reason.cause;
  if (!(reason instanceof Error)) return String(reason);
  return reason.message === '' && 'code' in reason ? String(reason.code) : reason.message;
}
