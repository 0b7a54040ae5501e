import { waitFor } from '@weir/testing';
import { inject } from 'vitest';

const { controlUrl, httpUrl } = inject('platform');

const pids = async () => (await (await fetch(`${controlUrl}/pids`)).json()) as Record<string, number>;

/** kill -9, without waiting for what follows. */
export const kill = (name: string) => fetch(`${controlUrl}/kill/${name}`, { method: 'POST' });

/** kill -9, and until another process has taken the place. */
export async function killAndAwaitRestart(name: string): Promise<void> {
  const before = (await pids())[name];
  await kill(name);
  await waitFor(
    async () => {
      const now = (await pids())[name];
      return now !== undefined && now !== before;
    },
    { timeoutMs: 20_000, what: `the restart of ${name}` },
  );
}

export const untilHealthy = () =>
  waitFor(async () => (await fetch(`${httpUrl}/healthz`)).status === 200, {
    timeoutMs: 30_000,
    what: 'a healthy platform',
  });
