import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it, vi } from 'vitest';
import { ensureMediasoupWorker, obtainMediasoupWorker } from '../../mediasoup-worker/worker.mjs';

const log = () => undefined;
afterEach(() => vi.unstubAllEnvs());

it('is a program that mediasoup can start', async () => {
  const worker = await ensureMediasoupWorker({ log });
  expect(spawnSync(worker, { env: {} }).status).toBe(41);
});

it('is the one that MEDIASOUP_WORKER_BIN names, or none at all', async () => {
  const worker = await ensureMediasoupWorker({ log });
  vi.stubEnv('MEDIASOUP_WORKER_BIN', worker);
  expect(await obtainMediasoupWorker({ log })).toBe(worker);
  vi.stubEnv('MEDIASOUP_WORKER_BIN', '/bin/true');
  await expect(obtainMediasoupWorker({ log })).rejects.toThrow(
    "MEDIASOUP_WORKER_BIN=/bin/true isn't a mediasoup worker",
  );
});

it('is not there, and no error, when nothing can be downloaded', async () => {
  const cache = mkdtempSync(join(tmpdir(), 'weir-cache-'));
  vi.stubEnv('MEDIASOUP_WORKER_BIN', '');
  vi.stubEnv('XDG_CACHE_HOME', cache);
  vi.stubEnv('MEDIASOUP_WORKER_PREBUILT_DOWNLOAD_BASE_URL', 'http://127.0.0.1:1/releases');
  const said: string[] = [];
  try {
    const worker = await obtainMediasoupWorker({ log: (line) => said.push(line) });
    // Only mediasoup's own installation could have left one.
    if (worker !== undefined) expect(worker).toContain('node_modules/mediasoup/worker/out/Release');
    else expect(said.at(-1)).toMatch(/no prebuilt binary \(.+\)/);
  } finally {
    rmSync(cache, { recursive: true, force: true });
  }
});
