import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { identify, isAlive, type ProcessIdentity } from '../setup/process-identity.mjs';
import { ProcessRecord } from './process-record.js';
import { SupervisedProcess, type ProcessDefinition } from './supervised-process.js';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weir-process-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Supervises a shell script and collects what the supervisor reports about it. */
function supervise(script: string, definition: Partial<ProcessDefinition> = {}) {
  const said: string[] = [];
  const output: string[] = [];
  const identities: (ProcessIdentity | undefined)[] = [];
  const supervised = new SupervisedProcess(
    {
      name: 'media',
      command: ['/bin/sh', '-c', script],
      cwd: folder,
      env: process.env,
      stopSignal: 'SIGTERM',
      stopTimeoutMs: 60_000,
      ...definition,
    },
    {
      say: (line) => said.push(line),
      output: (_name, line) => output.push(line),
      changed: (_name, identity) => identities.push(identity),
    },
  );
  supervised.start();
  return { supervised, said, output, identities };
}

const until = (check: () => void) => vi.waitFor(check, { timeout: 10_000, interval: 20 });

describe('a supervised process', () => {
  it('is started again when it is killed, and the console says so', async () => {
    const { supervised, said, output } = supervise('echo up; exec sleep 1000');
    await until(() => expect(output).toEqual(['up']));
    const first = supervised.pid;
    supervised.kill('SIGKILL');
    await until(() => expect(output).toEqual(['up', 'up']));
    expect(supervised.pid).not.toBe(first);
    expect(said).toEqual(['media exited (signal SIGKILL), restarting in 0.2 s']);
    await supervised.stop();
  });

  it('is started again with growing delays if it keeps failing', async () => {
    const { supervised, said } = supervise('exit 3');
    await until(() =>
      expect(said.slice(0, 3)).toEqual([
        'media exited (status 3), restarting in 0.2 s',
        'media exited (status 3), restarting in 0.4 s',
        'media exited (status 3), restarting in 0.8 s',
      ]),
    );
    await supervised.stop();
  });

  it('is started again even if its preparation fails', async () => {
    const { supervised, said } = supervise('', { prepare: () => Promise.reject(new Error('no disk')) });
    await until(() => expect(said[0]).toBe('media exited (no disk), restarting in 0.2 s'));
    await supervised.stop();
  });

  it('stops gracefully on request, and stays down', async () => {
    const { supervised, said, output } = supervise(
      'trap "echo bye; exit 0" TERM; echo up; while :; do sleep 0.05; done',
    );
    await until(() => expect(output).toEqual(['up']));
    await supervised.stop();
    expect(said).toEqual([]);
    expect(supervised.pid).toBeUndefined();
    await until(() => expect(output).toEqual(['up', 'bye']));
  });

  it('is killed together with everything that it started if it does not stop in time', async () => {
    const { supervised, said, output } = supervise('trap "" TERM; sleep 1000 & echo $!; while :; do sleep 0.05; done', {
      stopTimeoutMs: 100,
    });
    await until(() => expect(output).toHaveLength(1));
    const child = identify(Number(output[0]));
    await supervised.stop();
    expect(said).toEqual(['media takes too long to stop, killing it']);
    await until(() => expect(child !== undefined && isAlive(child)).toBe(false));
  });

  it('does not leave its children behind when it dies', async () => {
    const { supervised, output } = supervise('sleep 1000 & echo $!; wait');
    await until(() => expect(output).toHaveLength(1));
    const child = identify(Number(output[0]));
    supervised.kill('SIGKILL');
    await until(() => expect(child !== undefined && isAlive(child)).toBe(false));
    await supervised.stop();
  });

  it('stops while it waits for its next start', async () => {
    const { supervised, said } = supervise('exit 1');
    await until(() => expect(said).toHaveLength(3));
    await supervised.stop();
    expect(said).toHaveLength(3);
  });
});

describe('the record of processes', () => {
  it('lets the next supervisor end what a killed one left running, and nothing else', async () => {
    const path = join(folder, 'processes.json');
    const start = () => spawn('/bin/sh', ['-c', 'trap "" TERM; while :; do sleep 0.05; done'], { detached: true });
    const [leftover, stranger] = [start(), start()];
    const identityOf = (child: typeof leftover) => {
      const identity = identify(child.pid ?? 0);
      if (identity === undefined) throw new Error('not running');
      return identity;
    };
    const killed = new ProcessRecord(path);
    killed.note('media', identityOf(leftover));
    // A process that has ended, and whose pid now belongs to another one.
    killed.note('auth', { ...identityOf(stranger), startedAt: 'earlier' });
    expect(JSON.parse(readFileSync(path, 'utf8'))).toHaveProperty('media.pid', leftover.pid);

    const said: string[] = [];
    const ended = once(leftover, 'exit');
    await new ProcessRecord(path).endLeftovers((line) => said.push(line));
    await ended;
    expect(said).toEqual([`ending media (process ${leftover.pid}), left over from a killed start`]);
    expect(isAlive(identityOf(stranger))).toBe(true);
    stranger.kill('SIGKILL');
  });
});
