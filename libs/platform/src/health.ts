import { within } from '@weir/timing';

/** Resolves when the thing is usable; rejects with the reason when it isn't. */
export type HealthCheck = () => Promise<void> | void;

export interface HealthReport {
  status: 'ok' | 'unavailable';
  checks: Record<string, { status: 'ok' } | { status: 'unavailable'; reason: string }>;
}

const CHECK_TIMEOUT_MS = 1_000;

/** Reports whether a service can do its work and, if it can't, what is missing. */
export class Health {
  readonly #checks = new Map<string, HealthCheck>();
  #drainingReason: string | undefined;

  check(name: string, check: HealthCheck): void {
    this.#checks.set(name, check);
  }

  /** From now on the service reports that it takes no new work. */
  drain(reason: string): void {
    this.#drainingReason = reason;
  }

  async report(): Promise<HealthReport> {
    const results = await Promise.all(
      [...this.#checks].map(async ([name, check]) => [name, await outcome(check)] as const),
    );
    const checks = Object.fromEntries(results);
    if (this.#drainingReason !== undefined)
      checks['drain'] = { status: 'unavailable' as const, reason: this.#drainingReason };
    const ok = Object.values(checks).every(({ status }) => status === 'ok');
    return { status: ok ? 'ok' : 'unavailable', checks };
  }
}

async function outcome(check: HealthCheck): Promise<{ status: 'ok' } | { status: 'unavailable'; reason: string }> {
  try {
    await within(CHECK_TIMEOUT_MS, (async () => check())());
    return { status: 'ok' };
  } catch (error) {
    return { status: 'unavailable', reason: error instanceof Error ? error.message : String(error) };
  }
}
