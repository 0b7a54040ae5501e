import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor } from '@weir/testing';
import { inject } from 'vitest';

const { controlUrl, httpUrl } = inject('platform');

const pids = async () => (await (await fetch(`${controlUrl}/pids`)).json()) as Record<string, number>;

/** kill -9, without waiting for the restart. */
export const kill = (name: string) => fetch(`${controlUrl}/kill/${name}`, { method: 'POST' });

/** SIGSTOP, and SIGCONT after a time. In between the sockets stay open, and nothing is read or written. */
export async function pause(name: string, forMs: number): Promise<void> {
  const pid = (await pids())[name];
  if (pid === undefined) throw new Error(`${name} isn't running`);
  process.kill(pid, 'SIGSTOP');
  await sleep(forMs).finally(() => process.kill(pid, 'SIGCONT'));
}

/** kill -9, then waits until another process has taken its place. */
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
