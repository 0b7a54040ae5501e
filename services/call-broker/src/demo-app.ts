import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { isWeirError, ErrorCode } from '@weir/contracts';
import type { Logger } from '@weir/platform';
import { z } from 'zod';
import type { AppStore } from './app-store.js';

const TENANT = 'demo';
/** The devices that the vendor's samples name are among them. */
const RANGES = [{ begin: 1_003_000, end: 1_003_999, usage: 1 }] as const;

const WAIT_MS = 60_000;
const LOOK_AGAIN_MS = 200;

/** A device that can't be read has no app. */
const device = z.object({ cid: z.number().int().min(0) }).catch({ cid: 0 });
const fileSchema = z.object({
  calls: z.object({ appId: z.string(), appKey: z.string(), devices: z.array(device).default([]) }),
});

/** Makes the app that the credentials file of a single machine names, and removes the one that it named before. */
export const ensureDemoApp = async (
  apps: AppStore,
  file: string,
  log: Pick<Logger, 'warn'>,
  waitMs = WAIT_MS,
): Promise<void> => {
  const { appId: id, appKey: key, devices } = await written(file, waitMs);
  await apps.removeDemo(id);
  const known = await apps.find(id);
  if (known === undefined) {
    try {
      await apps.create({ id, key, tenant: TENANT, ranges: RANGES, demo: true });
    } catch (error) {
      if (!isWeirError(error, ErrorCode.ALREADY_EXISTS)) throw error;
      log.warn({ id }, 'the demo app has no devices, because other apps have them already');
      await apps.create({ id, key, tenant: TENANT, ranges: [], demo: true });
    }
  } else if (known.tenant === TENANT) {
    await apps.change(id, { key });
  } else {
    log.warn({ id }, `the app in ${file} belongs to another tenant, so it doesn't get the key that the file names`);
  }
  await apps.seen(devices.map(({ cid }) => cid));
};

/** What the file says of calls. auth writes it when it starts, at the same time as this service. */
const written = async (file: string, waitMs: number): Promise<z.infer<typeof fileSchema>['calls']> => {
  const giveUpMs = Date.now() + waitMs;
  for (;;) {
    const text = await readFile(file, 'utf8').catch(() => '{}');
    const { data } = fileSchema.safeParse(jsonIn(text));
    if (data !== undefined) return data.calls;
    if (Date.now() > giveUpMs)
      throw new Error(`${file} names no app for calls; auth writes it, so see why auth doesn't start`);
    await sleep(LOOK_AGAIN_MS);
  }
};

const jsonIn = (text: string): unknown => {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
};
