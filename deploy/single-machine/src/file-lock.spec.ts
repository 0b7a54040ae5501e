import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { tryLock, waitForLock } from '../setup/file-lock.mjs';

const folder = mkdtempSync(join(tmpdir(), 'weir-lock-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const lockModule = resolve(import.meta.dirname, '../setup/file-lock.mjs');

/** Starts a process that takes the lock and keeps it. */
async function startHolder(path: string) {
  const program = `
    const { waitForLock } = await import(${JSON.stringify(lockModule)});
    await waitForLock(${JSON.stringify(path)});
    console.log('locked');
    setInterval(() => {}, 1000);`;
  const holder = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(holder.stdout, 'data');
  return holder;
}

it('is held by one process, and is free once that process is killed', async () => {
  const path = join(folder, 'killed');
  const holder = await startHolder(path);
  expect(tryLock(path)).toEqual({ heldBy: expect.objectContaining({ pid: holder.pid }) });
  const waitedFor: number[] = [];
  const waiting = waitForLock(path, { onWait: ({ pid }) => waitedFor.push(pid) });
  holder.kill('SIGKILL');
  const lock = await waiting;
  expect(waitedFor).toEqual([holder.pid]);
  lock.release();
  expect(existsSync(path)).toBe(false);
});

it('is free if the pid of its holder now belongs to another process', () => {
  const path = join(folder, 'reused');
  writeFileSync(path, JSON.stringify({ pid: process.ppid, startedAt: 'another time' }));
  const result = tryLock(path);
  expect(result).toHaveProperty('lock');
});

it('is free if its file is damaged', () => {
  const path = join(folder, 'damaged');
  writeFileSync(path, '{"pid":');
  expect(tryLock(path)).toHaveProperty('lock');
});

it('is never held twice while processes that want it come and are killed', async () => {
  const path = join(folder, 'contended');
  const inside = join(folder, 'inside');
  const program = `
    import { mkdirSync, rmdirSync } from 'node:fs';
    const { waitForLock } = await import(${JSON.stringify(lockModule)});
    for (let round = 0; round < 5; round++) {
      const lock = await waitForLock(${JSON.stringify(path)});
      mkdirSync(${JSON.stringify(inside)}); // fails if somebody else is inside
      rmdirSync(${JSON.stringify(inside)});
      if (round === 4) process.kill(process.pid, 'SIGKILL'); // with the lock in its hands
      lock.release();
    }`;
  const ends = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: 'ignore' });
      return (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
    }),
  );
  expect(ends).toEqual(Array.from({ length: 4 }, () => [null, 'SIGKILL']));
});
