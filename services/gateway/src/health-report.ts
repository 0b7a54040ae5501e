import { z } from 'zod';
import type { ServiceName } from './routes.js';
import { reasonOf, type Upstreams } from './upstreams.js';

const ANSWER_TIMEOUT_MS = 1_500;
const CACHE_MS = 1_000;

export type ServiceHealth = { status: 'ok' } | { status: 'unavailable'; reason: string };

export interface HealthReport {
  status: 'ok' | 'unavailable';
  services: Record<string, ServiceHealth>;
}

const ownReport = z.object({
  checks: z.record(z.string(), z.object({ status: z.string(), reason: z.string().optional() })),
});

/** The health of the whole installation: the gateway's own and every configured service's, asked at most once a second. */
export class HealthReports {
  private cached: { report: Promise<HealthReport>; askedAtMs: number } | undefined;
  private draining = false;

  constructor(private readonly ports: { upstreams: Upstreams; nowMs: () => number }) {}

  drain(): void {
    this.draining = true;
    this.cached = undefined;
  }

  report(): Promise<HealthReport> {
    const nowMs = this.ports.nowMs();
    if (this.cached === undefined || nowMs - this.cached.askedAtMs >= CACHE_MS)
      this.cached = { report: this.ask(), askedAtMs: nowMs };
    return this.cached.report;
  }

  private async ask(): Promise<HealthReport> {
    const gateway: ServiceHealth = this.draining
      ? { status: 'unavailable', reason: 'the gateway is stopping' }
      : { status: 'ok' };
    const answers = await Promise.all(
      [...this.ports.upstreams.configured.keys()].map(
        async (service) => [service, await this.askService(service)] as const,
      ),
    );
    const services: Record<string, ServiceHealth> = { gateway, ...Object.fromEntries(answers) };
    const ok = Object.values(services).every(({ status }) => status === 'ok');
    return { status: ok ? 'ok' : 'unavailable', services };
  }

  private async askService(service: ServiceName): Promise<ServiceHealth> {
    const { upstreams } = this.ports;
    try {
      const response = await upstreams.request(service, {
        path: '/healthz',
        method: 'GET',
        signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
      });
      const text = await response.body.text();
      upstreams.answered(service);
      return response.statusCode === 200
        ? { status: 'ok' }
        : { status: 'unavailable', reason: reasonIn(text) ?? `answers ${response.statusCode}` };
    } catch (error) {
      upstreams.failed(service, error);
      const timedOut = error instanceof Error && error.name === 'TimeoutError';
      return { status: 'unavailable', reason: timedOut ? `no answer within ${ANSWER_TIMEOUT_MS} ms` : reasonOf(error) };
    }
  }
}

/** The failed checks of a service's own report, or undefined when that isn't what it sent. */
function reasonIn(text: string): string | undefined {
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
    : failed.map(([name, { reason }]) => (reason === undefined ? name : `${name}: ${reason}`)).join('; ');
}
