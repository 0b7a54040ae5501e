import { mkdtempSync, rmSync, readFileSync, writeFileSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { canMountDisks, SmallDisk } from '@weir/testing';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { answerOf, untilReady, type BackingServer } from './backing-server.js';
import { natsServer } from './nats.js';
import { freePorts } from './ports.js';
import { postgresServer } from './postgres.js';
import { redisServer } from './redis.js';
import { ensureServerPasswords, ensureSigningKey } from './secrets.js';
import { SupervisedProcess } from './supervised-process.js';

const START_TIMEOUT_MS = 60_000;

let folder = '';
let stops: (() => Promise<void>)[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weir-servers-'));
});
afterEach(async () => {
  // Stopped in reverse order.
  for (const stop of stops.toReversed()) await stop();
  stops = [];
  rmSync(folder, { recursive: true, force: true });
});

const options = async (name: string, parent = folder) => {
  const [port = 0] = await freePorts(1);
  return { folder: join(parent, name), port, password: 'a "strong" one'.replaceAll(/\W/g, '-'), env: process.env };
};

async function run(server: BackingServer) {
  const output: string[] = [];
  const supervised = new SupervisedProcess(server.process, {
    say: () => undefined,
    changed: () => undefined,
    output: (_name, line) => output.push(line),
  });
  stops.push(() => supervised.stop());
  supervised.start();
  await untilReady(server, AbortSignal.timeout(START_TIMEOUT_MS));
  return { supervised, output };
}

it.each([
  ['nats', natsServer],
  ['redis', redisServer],
  ['postgres', postgresServer],
] as const)('%s is back on its port after it was killed', { timeout: 120_000 }, async (name, make) => {
  const server = await make(await options(name));
  const { supervised } = await run(server);
  const first = supervised.pid;
  supervised.kill('SIGKILL');
  await vi.waitFor(() => expect([first, undefined]).not.toContain(supervised.pid), { timeout: 20_000 });
  await untilReady(server, AbortSignal.timeout(START_TIMEOUT_MS));
});

it(
  'postgres starts despite the claim of a dead server whose pid now belongs to another process',
  { timeout: 120_000 },
  async () => {
    const postgres = await options('postgres');
    const { supervised } = await run(await postgresServer(postgres));
    const claim = join(postgres.folder, 'data/postmaster.pid');
    const lines = readFileSync(claim, 'utf8').split('\n');
    const bystander = await run(await postgresServer(await options('bystander')));
    supervised.killNow();
    await supervised.stop();
    writeFileSync(claim, [String(bystander.supervised.pid), ...lines.slice(1)].join('\n'));

    await run(await postgresServer(postgres));
    expect(bystander.supervised.pid).toBeDefined();
  },
);

it.runIf(canMountDisks)(
  'redis goes on without its file on a full disk, and writes it when there is room (only root can mount a small disk)',
  { timeout: 60_000 },
  async () => {
    const disk = SmallDisk.mount('32m');
    stops.push(async () => disk.unmount());
    const redis = redisServer(await options('redis', disk.folder));
    const { supervised } = await run(redis);
    const said: string[] = [];
    const tended = () => redis.tend?.((line) => said.push(line));
    await tended();
    expect(said).toEqual([]);

    disk.fill();
    const long = 'x'.repeat(8_000);
    await vi.waitFor(async () => expect(await command(redis, `SET a ${long}`)).toContain('-MISCONF'));
    await vi.waitFor(async () => {
      await tended();
      expect(await command(redis, `SET a ${long}`)).toBe('+OK');
    });
    await tended();
    expect(said).toEqual([expect.stringContaining('The disk is full')]);

    disk.makeRoom();
    await tended();
    expect(said).toEqual([expect.anything(), expect.stringContaining('writes its file again')]);
    expect(await command(redis, 'SET b kept')).toBe('+OK');
    // The rewritten file also contains what was set in the meantime.
    await vi.waitFor(
      async () => {
        const state = await command(redis, 'INFO persistence', /loading:[^]*module_fork/);
        expect(state).toMatch(/aof_rewrite_in_progress:0[^]*aof_rewrite_scheduled:0[^]*aof_last_write_status:ok/);
        expect(state).toContain('aof_current_size');
      },
      { timeout: 20_000, interval: 200 },
    );
    await supervised.stop();
    await run(redis);
    expect(await command(redis, 'GET b', /kept/)).toContain('kept');
    expect(await command(redis, 'STRLEN a')).toBe(`:${long.length}`);
  },
);

/** The answer to one command. */
async function command(redis: BackingServer, text: string, enough = /\r\n[^]*\r\n/): Promise<string> {
  const { port, password } = new URL(redis.url);
  const request = `AUTH ${password}\r\n${text}\r\n`;
  const answer = await answerOf(Number(port), request, (received) => enough.test(received));
  return (answer ?? '').replace('+OK\r\n', '').trim();
}

it('nats and redis refuse clients without the password', { timeout: 60_000 }, async () => {
  const redis = redisServer(await options('redis'));
  const { output } = await run(redis);
  const { answers } = await import('./backing-server.js');
  const port = Number(new URL(redis.url).port);
  expect(await answers(port, 'PING\r\n', '-NOAUTH')).toBe(true);
  expect(output.length).toBeGreaterThan(0);

  const nats = natsServer(await options('nats'));
  await run(nats);
  const natsPort = Number(new URL(nats.url).port);
  expect(await answers(natsPort, 'CONNECT {"verbose":true}\r\nPING\r\n', 'Authorization Violation')).toBe(true);
});

it('secrets are made once, and only their owner can read them', () => {
  const [passwords, key] = [join(folder, 'passwords.json'), join(folder, 'key.pem')];
  const made = ensureServerPasswords(passwords);
  expect(ensureServerPasswords(passwords)).toEqual(made);
  expect(new Set(Object.values(made)).size).toBe(3);
  ensureSigningKey(key);
  const pem = readFileSync(key, 'utf8');
  ensureSigningKey(key);
  expect(readFileSync(key, 'utf8')).toBe(pem);
  for (const path of [passwords, key]) expect(statSync(path).mode & 0o777).toBe(0o600);
});
