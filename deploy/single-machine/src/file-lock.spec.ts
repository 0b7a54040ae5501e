import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
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

/** Tries the lock once, step by step: it waits for a line of its input before each change of a file. */
const STEPPING = (path: string) => `
    import fs from 'node:fs';
    import { syncBuiltinESMExports } from 'node:module';
    for (const name of ['linkSync', 'renameSync', 'rmSync']) {
      const change = fs[name];
      fs[name] = (...args) => {
        fs.writeSync(1, 'step\\n');
        fs.readSync(0, Buffer.alloc(1));
        return change(...args);
      };
    }
    syncBuiltinESMExports();
    const { tryLock } = await import(${JSON.stringify(lockModule)});
    fs.writeSync(1, 'lock' in tryLock(${JSON.stringify(path)}) ? 'locked\\n' : 'held\\n');
    setInterval(() => {}, 1000);`;

class Stepping {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;
  /** Its last line of output. */
  last: string | undefined = 'step';

  constructor(path: string) {
    this.#child = spawn(process.execPath, ['--input-type=module', '-e', STEPPING(path)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async listen(): Promise<void> {
    this.last = (await this.#lines.next()).value;
  }

  /** Lets it make one change, or finish its try. */
  async step(): Promise<void> {
    if (this.last !== 'step') return;
    this.#child.stdin.write('.');
    await this.listen();
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

it(
  'is never held twice, wherever one of three that find it stale at the same time is slow',
  { timeout: 60_000 },
  async () => {
    for (let pauseAt = 0; ; pauseAt++) {
      const path = join(folder, `slow-${pauseAt}`);
      writeFileSync(path, JSON.stringify({ pid: process.ppid, startedAt: 'another time' }));
      const [slow, second] = [new Stepping(path), new Stepping(path)];
      try {
        await Promise.all([slow.listen(), second.listen()]);
        for (let steps = 0; steps < pauseAt; steps++) await slow.step();
        while (second.last === 'step') await second.step();
        const holders = () => [slow.last, second.last].filter((said) => said === 'locked').length;
        let third = 0;
        const isOver = slow.last !== 'step';
        for (;;) {
          if (third === 0 && 'lock' in tryLock(path)) third = 1;
          expect({ pauseAt, held: holders() + third }).toEqual({ pauseAt, held: Math.min(1, holders() + third) });
          if (slow.last !== 'step') break;
          await slow.step();
        }
        expect({ pauseAt, held: holders() + third }).toEqual({ pauseAt, held: 1 });
        if (isOver) return;
      } finally {
        slow.kill();
        second.kill();
      }
    }
  },
);
