import { z } from 'zod';
import type { EdgeLog } from './edge-log.js';
import { upstreamError } from './gateway-error.js';
import type { ServiceName } from './routes.js';
import type { Upstreams } from './upstreams.js';

const ANSWER_TIMEOUT_MS = 1_500;
const CACHE_MS = 1_000;
const MAX_LOGGED_LENGTH = 2_000;

export type ServiceHealth = { status: 'ok' } | { status: 'unavailable'; reason: string };

export interface HealthReport {
  status: 'ok' | 'unavailable';
  services: Record<string, ServiceHealth>;
}

const ownReport = z.object({
  checks: z.record(z.string(), z.object({ status: z.string(), reason: z.string().optional() })),
});

/**
 * The health of the whole installation: the gateway's own and that of every configured service, which is asked at most
 * once a second. Anybody may read it, so texts that could name an internal server go to the log only.
 */
export class HealthReports {
  #cached: { report: Promise<HealthReport>; askedAtMs: number } | undefined;
  #draining = false;

  /** The last report of each unhealthy service, so that each report is logged once. */
  readonly #said = new Map<ServiceName, string>();

  constructor(private readonly ports: { upstreams: Upstreams; log: EdgeLog; nowMs: () => number }) {}

  drain(): void {
    this.#draining = true;
    this.#cached = undefined;
  }

  report(): Promise<HealthReport> {
    const nowMs = this.ports.nowMs();
    if (this.#cached === undefined || nowMs - this.#cached.askedAtMs >= CACHE_MS)
      this.#cached = { report: this.#ask(), askedAtMs: nowMs };
    return this.#cached.report;
  }

  async #ask(): Promise<HealthReport> {
    const gateway: ServiceHealth = this.#draining
      ? { status: 'unavailable', reason: 'the gateway is stopping' }
      : { status: 'ok' };
    const answers = await Promise.all(
      [...this.ports.upstreams.configured.keys()].map(
        async (service) => [service, await this.#askService(service)] as const,
      ),
    );
    const services: Record<string, ServiceHealth> = { gateway, ...Object.fromEntries(answers) };
    const ok = Object.values(services).every(({ status }) => status === 'ok');
    return { status: ok ? 'ok' : 'unavailable', services };
  }

  async #askService(service: ServiceName): Promise<ServiceHealth> {
    const { upstreams } = this.ports;
    try {
      const response = await upstreams.request(service, {
        path: '/healthz',
        method: 'GET',
        signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
      });
      const text = await response.body.text();
      upstreams.answered(service);
      if (response.statusCode === 200) {
        this.#said.delete(service);
        return { status: 'ok' };
      }
      this.#logOnce(service, text);
      return { status: 'unavailable', reason: failedChecksIn(text) ?? `answers ${response.statusCode}` };
    } catch (error) {
      upstreams.failed(service, error);
      const timedOut = error instanceof Error && error.name === 'TimeoutError';
      const reason = timedOut ? `no answer within ${ANSWER_TIMEOUT_MS} ms` : upstreamError(service, error).message;
      return { status: 'unavailable', reason };
    }
  }

  #logOnce(service: ServiceName, report: string): void {
    if (this.#said.get(service) === report) return;
    this.#said.set(service, report);
    this.ports.log.warn({ upstream: service, report: report.slice(0, MAX_LOGGED_LENGTH) }, 'service is not healthy');
  }
}

/** The failed checks in a service's report; undefined if the text isn't a report or names none. */
function failedChecksIn(text: string): string | undefined {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  const report = ownReport.safeParse(body);
  if (!report.success) return undefined;
  const failed = Object.entries(report.data.checks).filter(([, check]) => check.status !== 'ok');
  return failed.length === 0
    ? undefined
    : failed.map(([name, { reason }]) => (isTellable(reason) ? `${name}: ${reason}` : name)).join('; ');
}

/** Accepts plain words only: no address, no path and no system error, whose text contains one of them. */
const isTellable = (reason: string | undefined): reason is string =>
  reason !== undefined && /^[A-Za-z0-9 ,;'_-]+$/.test(reason) && !/\bE[A-Z]{3,}\b/.test(reason);
