import { request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { quantile } from '../bench/samples.js';

export interface VisitorsOptions {
  httpUrl: string;
  /** Of loopback, where nobody else of the run comes from: limits per address must not be theirs. */
  address: string;
  /** Asked for one after the other, again and again. */
  paths: readonly string[];
  headers?: Readonly<Record<string, string>>;
}

export interface Visits {
  asked: number;
  /** Without an answer in time, or with one that says that the platform can't. */
  failed: number;
  p50Ms: number;
  maxMs: number;
}

const INTERVAL_MS = 100;
/** Longer than anybody would wait who has asked for a list. */
const TIMEOUT_MS = 5_000;

/** The other clients: they ask, each on a connection of its own, and are to notice nothing. */
export class Visitors {
  constructor(private readonly options: VisitorsOptions) {}

  /** Asks for so long, and waits for the answers. */
  async watch(durationMs: number): Promise<Visits> {
    const visits: Promise<{ ms: number; ok: boolean }>[] = [];
    for (const endsAtMs = performance.now() + durationMs; performance.now() < endsAtMs; await delay(INTERVAL_MS))
      visits.push(this.visit(this.options.paths[visits.length % this.options.paths.length] ?? '/'));
    const done = await Promise.all(visits);
    const latencies = done.map(({ ms }) => ms);
    return {
      asked: done.length,
      failed: done.filter(({ ok }) => !ok).length,
      p50Ms: quantile(latencies, 0.5),
      maxMs: quantile(latencies, 1),
    };
  }

  private visit(path: string): Promise<{ ms: number; ok: boolean }> {
    const { httpUrl, address, headers } = this.options;
    const startedMs = performance.now();
    return new Promise((resolve) => {
      const end = (ok: boolean) => resolve({ ms: performance.now() - startedMs, ok });
      request(`${httpUrl}${path}`, { localAddress: address, agent: false, headers: { ...headers } })
        .setTimeout(TIMEOUT_MS, function (this: { destroy(): void }) {
          this.destroy();
        })
        .on('response', (response) => {
          response.resume();
          response.on('end', () => end((response.statusCode ?? 500) < 429));
          response.on('error', () => end(false));
        })
        .on('error', () => end(false))
        .end();
    });
  }
}

export const visitCells = ({ asked, failed, p50Ms, maxMs }: Visits): number[] => [asked, failed, p50Ms, maxMs];
export const VISIT_COLUMNS = ['asked', 'failed', 'p50 ms', 'max ms'] as const;
