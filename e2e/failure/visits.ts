import { request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { quantile } from '../bench/samples.js';
import type { VisitorsOptions, Visits } from './visitors.js';

const INTERVAL_MS = 100;
/** Longer than even a busy machine takes to answer with a list. */
const TIMEOUT_MS = 20_000;

function visit({ httpUrl, address, headers }: VisitorsOptions, path: string): Promise<{ ms: number; ok: boolean }> {
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

async function watch(options: VisitorsOptions, durationMs: number): Promise<Visits> {
  const { paths } = options;
  const visits: ReturnType<typeof visit>[] = [];
  for (const endsAtMs = performance.now() + durationMs; performance.now() < endsAtMs; await delay(INTERVAL_MS))
    visits.push(visit(options, paths[visits.length % paths.length] ?? '/'));
  const done = await Promise.all(visits);
  const latencies = done.map(({ ms }) => ms);
  const failed = done.filter(({ ok }) => !ok).length;
  return { asked: done.length, failed, p50Ms: quantile(latencies, 0.5), maxMs: quantile(latencies, 1) };
}

// The program that visitors.ts starts. Its arguments are the options and the duration; it reports the result.
const [options = '{}', durationMs = '0'] = process.argv.slice(2);
process.send?.(await watch(JSON.parse(options) as VisitorsOptions, Number(durationMs)));
process.disconnect();
