import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { AppStore } from './app-store.js';
import { ensureDemoApp } from './demo-app.js';
import { startPostgres, type TestServer } from '@weir/testing';

let postgres: TestServer;
let folder: string;
let apps: AppStore;
const warnings: string[] = [];
const log = { info: () => undefined, warn: (_fields: unknown, words?: unknown) => void warnings.push(String(words)) };

const named = async (calls: unknown) => {
  const file = path.join(folder, 'credentials.json');
  await writeFile(file, JSON.stringify({ user: {}, calls }));
  return file;
};
const ensure = async (appId: string, appKey: string, devices: unknown[] = []) =>
  ensureDemoApp(apps, await named({ appId, appKey, devices }), log);

beforeAll(async () => {
  postgres = await startPostgres();
  folder = await mkdtemp(path.join(tmpdir(), 'weir-demo-app-'));
  apps = await AppStore.open(postgres.url, log);
}, 60_000);

afterAll(async () => {
  await apps.close();
  await postgres.stop();
  await rm(folder, { recursive: true });
});

it('a single machine has the app that its credentials name, and no earlier one of these', async () => {
  await ensure('demo', 'a'.repeat(32), [{ cid: 1_003_538 }, { cid: 7 }, 'nonsense', { cid: 1_003_181 }]);
  expect(await apps.devicesOf('demo', 0, 10)).toEqual({ found: [1_003_181, 1_003_538], total: 2 });
  expect(await apps.ownerOf(1_003_538)).toMatchObject({ id: 'demo', tenant: 'demo', key: 'a'.repeat(32) });
  await apps.change('demo', { webhook: 'https://app.example/hook' });
  await ensure('demo', 'b'.repeat(32));
  expect(await apps.ownerOf(1_003_181)).toMatchObject({ key: 'b'.repeat(32), webhook: 'https://app.example/hook' });
  await ensure('next', 'c'.repeat(32));
  expect(await apps.ownerOf(1_003_538)).toMatchObject({ id: 'next' });
  expect(await apps.find('demo')).toBeUndefined();
  await apps.removeDemo();
  expect(await apps.ownerOf(1_003_538)).toBeUndefined();
});

it('the app of another tenant, and its devices, stay as they are', async () => {
  const ranges = [{ begin: 1_003_500, end: 1_003_600, usage: 1 }] as const;
  await apps.create({ id: 'real', key: 'r'.repeat(32), tenant: 'house', ranges });
  await ensure('demo', 'd'.repeat(32));
  expect(await apps.ownerOf(1_003_538)).toMatchObject({ id: 'real' });
  expect(await apps.find('demo')).toMatchObject({ ranges: [] });
  await ensure('real', 'd'.repeat(32));
  expect(await apps.find('real')).toMatchObject({ key: 'r'.repeat(32), tenant: 'house' });
  expect(warnings).toHaveLength(2);
});

it('the file is waited for, because auth writes it at the same time', async () => {
  const file = await named(undefined);
  const writing = new Promise((resolve) => setTimeout(resolve, 300)).then(() =>
    named({ appId: 'late', appKey: 'l'.repeat(32) }),
  );
  await ensureDemoApp(apps, file, log);
  await writing;
  expect(await apps.find('late')).toBeDefined();
  await expect(ensureDemoApp(apps, await named({ appId: 1 }), log, 0)).rejects.toThrow('names no app');
});
