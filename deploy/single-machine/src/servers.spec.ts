import { mkdtempSync, rmSync, readFileSync, writeFileSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { untilReady, type BackingServer } from './backing-server.js';
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
  await Promise.all(stops.map((stop) => stop()));
  stops = [];
  rmSync(folder, { recursive: true, force: true });
});

const options = async (name: string) => {
  const [port = 0] = await freePorts(1);
  return { folder: join(folder, name), port, password: 'a "strong" one'.replaceAll(/\W/g, '-'), env: process.env };
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
  'postgres starts over the claim of a dead server whose number another process has got',
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

it('nats and redis turn away clients without the password', { timeout: 60_000 }, async () => {
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

it('secrets are made once and readable by their owner only', () => {
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
