import { execFile, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const checkout = resolve(import.meta.dirname, '../../..');

function ensureWorker(env: NodeJS.ProcessEnv = {}) {
  const program = join(checkout, 'deploy/mediasoup-worker/worker.mjs');
  return spawnSync(process.execPath, [program], { env: { ...process.env, ...env }, encoding: 'utf8' });
}

it('prints the path of a program that mediasoup can start', () => {
  const { status, stdout } = ensureWorker();
  expect(status).toBe(0);
  expect(spawnSync(stdout.trim(), { env: {} }).status).toBe(41);
});

it('uses the program that MEDIASOUP_WORKER_BIN names, or fails', () => {
  const worker = ensureWorker().stdout.trim();
  expect(ensureWorker({ MEDIASOUP_WORKER_BIN: worker }).stdout.trim()).toBe(worker);
  const { status, stderr } = ensureWorker({ MEDIASOUP_WORKER_BIN: '/bin/true' });
  expect(status).toBe(1);
  expect(stderr).toContain("MEDIASOUP_WORKER_BIN=/bin/true isn't a mediasoup worker that runs here");
});

const isInNodeModules = existsSync(join(checkout, 'node_modules/mediasoup/worker/out/Release/mediasoup-worker'));

it.skipIf(isInNodeModules)('says what is missing if the worker can be neither downloaded nor built', () => {
  const cache = mkdtempSync(join(tmpdir(), 'weir-cache-'));
  try {
    const { status, stderr } = ensureWorker({
      MEDIASOUP_WORKER_BIN: '',
      MEDIASOUP_WORKER_PREBUILT_DOWNLOAD_BASE_URL: 'http://127.0.0.1:1/releases',
      XDG_CACHE_HOME: cache,
      PATH: cache,
    });
    expect(status).toBe(1);
    expect(stderr).toMatch(/no prebuilt binary \(.+\)/);
    expect(stderr).toMatch(/can be neither downloaded nor built here.*\n.*apt-get install g\+\+ pkg-config meson/);
  } finally {
    rmSync(cache, { recursive: true, force: true });
  }
});

it.skipIf(isInNodeModules)('downloads a prebuilt binary once, and ignores one that doesn’t run', async () => {
  const worker = ensureWorker().stdout.trim();
  const cache = mkdtempSync(join(tmpdir(), 'weir-cache-'));
  const other = join(cache, 'mediasoup-worker');
  mkdirSync(other);
  const packed = (folder: string) =>
    spawnSync('tar', ['-czC', folder, 'mediasoup-worker'], { maxBuffer: 64 * 1024 * 1024 }).stdout;
  let archive = packed(cache);
  const asked: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url);
    response.end(archive);
  }).listen(0, '127.0.0.1');
  try {
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const obtain = async () => {
      const program = `import { obtainMediasoupWorker } from './worker.mjs';
        console.log(await obtainMediasoupWorker({ log: console.error }));`;
      return promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program], {
        cwd: join(checkout, 'deploy/mediasoup-worker'),
        env: {
          ...process.env,
          MEDIASOUP_WORKER_BIN: '',
          MEDIASOUP_WORKER_PREBUILT_DOWNLOAD_BASE_URL: `http://127.0.0.1:${port}/releases`,
          XDG_CACHE_HOME: cache,
        },
      });
    };
    expect(await obtain()).toMatchObject({
      stdout: 'undefined\n',
      stderr: expect.stringContaining("no prebuilt binary (it doesn't run on this system)") as string,
    });
    archive = packed(dirname(worker));
    const first = (await obtain()).stdout.trim();
    expect(first.startsWith(cache)).toBe(true);
    expect(spawnSync(first, { env: {} }).status).toBe(41);
    expect((await obtain()).stdout.trim()).toBe(first);
    expect(asked).toHaveLength(2);
    expect(asked[0]).toMatch(/^\/releases\/[\d.]+\/mediasoup-worker-[\d.]+-linux-\w+-kernel\d+\.tgz$/);
  } finally {
    server.close();
    rmSync(cache, { recursive: true, force: true });
  }
});
