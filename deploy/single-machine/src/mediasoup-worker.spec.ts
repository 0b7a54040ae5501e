import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';

const checkout = resolve(import.meta.dirname, '../../..');

function ensureWorker(env: NodeJS.ProcessEnv = {}) {
  const program = join(checkout, 'deploy/mediasoup-worker/worker.mjs');
  return spawnSync(process.execPath, [program], { env: { ...process.env, ...env }, encoding: 'utf8' });
}

it('tells the path of a program that mediasoup can start', () => {
  const { status, stdout } = ensureWorker();
  expect(status).toBe(0);
  expect(spawnSync(stdout.trim(), { env: {} }).status).toBe(41);
});

it('takes the program that MEDIASOUP_WORKER_BIN names, or none at all', () => {
  const worker = ensureWorker().stdout.trim();
  expect(ensureWorker({ MEDIASOUP_WORKER_BIN: worker }).stdout.trim()).toBe(worker);
  const { status, stderr } = ensureWorker({ MEDIASOUP_WORKER_BIN: '/bin/true' });
  expect(status).toBe(1);
  expect(stderr).toContain("MEDIASOUP_WORKER_BIN=/bin/true isn't a mediasoup worker that runs here");
});

const isInNodeModules = existsSync(join(checkout, 'node_modules/mediasoup/worker/out/Release/mediasoup-worker'));

it.skipIf(isInNodeModules)('says what is missing where it can be neither downloaded nor built', () => {
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
