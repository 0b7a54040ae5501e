import { spawn, type ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort, waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { OPUS, VP8 } from './testing/fake-media.js';
import { parsePlaylist, Player } from './testing/player.js';
import { startSurroundings, type Surroundings } from './testing/service.js';

const MAIN = join(import.meta.dirname, '../dist/main.js');

let around: Surroundings;
let player: Player;
let port: number;
let service: ChildProcess;

beforeAll(async () => {
  around = await startSurroundings();
  port = await freePort();
  player = new Player(`http://127.0.0.1:${port}`, { authorization: `Bearer ${await around.auth.token()}` });
  await around.media.publish('vp8', { video: VP8, audio: OPUS });
});
afterAll(() => around.stop());
afterEach(() => service.kill('SIGKILL'));

async function start(): Promise<void> {
  const { PATH = '' } = process.env;
  service = spawn(process.execPath, ['--import', '@weir/platform/register', MAIN], {
    cwd: join(import.meta.dirname, '..'),
    env: {
      PATH,
      NATS_URL: around.nats.url,
      REDIS_URL: around.redis.url,
      WEIR_LISTEN_PORT: String(port),
      WEIR_HLS_START_TIMEOUT_MS: '20000',
      LOG_LEVEL: 'warn',
    },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  await waitFor(async () => (await player.get('/healthz')).status === 200, { what: 'the service' });
}

/** The ffmpeg processes that a process has started. */
const encodersOf = (parent: number | undefined): number[] =>
  readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      try {
        const [, name, state, ppid] = /\((.*)\) (\S) (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? [];
        return name === 'ffmpeg' && state !== 'Z' && Number(ppid) === parent;
      } catch {
        return false; // not a process, or one that has ended
      }
    });
const isRunning = (pid: number): boolean => {
  try {
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return false; // it has ended
  }
};

describe('the process of the service', () => {
  it.each(['SIGKILL', 'SIGTERM'] as const)('takes its encoder with it when it ends by %s', async (signal) => {
    await start();
    await player.text('/videos/vp8/index.m3u8');
    const [encoder = 0] = encodersOf(service.pid);
    expect(encoder).toBeGreaterThan(0);
    service.kill(signal);
    await waitFor(() => !isRunning(encoder));
    await waitFor(() => service.exitCode !== null || service.signalCode !== null);
  });

  it('starts a new encoder when the encoder dies', async () => {
    await start();
    const before = parsePlaylist(await player.text('/videos/vp8/media.m3u8'));
    const [encoder = 0] = encodersOf(service.pid);
    process.kill(encoder, 'SIGKILL');
    await waitFor(
      async () => {
        const now = parsePlaylist(await player.text('/videos/vp8/media.m3u8'));
        return now.discontinuities > before.discontinuities && now.parts.length > 0;
      },
      { timeoutMs: 20_000, intervalMs: 200 },
    );
    expect(encodersOf(service.pid)).toHaveLength(1);
    expect(encodersOf(service.pid)).not.toContain(encoder);
  });
});
