import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor } from '@weir/testing';
import { Redis } from 'ioredis';
import type { Browser, BrowserContext } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { received, startBrowser } from '../browser.js';
import { SdkPage } from '../sdk-page.js';
import { killAndAwaitRestart, pause, untilHealthy } from './kills.js';

const { httpUrl, siteUrl, redisUrl, username, password, operatorKey } = inject('platform');
const wsUrl = httpUrl.replace('http:', 'ws:');
/** New sessions must work this long after the restart of a process. */
const RECOVERY_MS = 10_000;

let browser: Browser;
let context: BrowserContext;
let redis: Redis;

beforeAll(async () => {
  browser = await startBrowser();
  redis = new Redis(redisUrl);
  redis.on('error', () => undefined); // it is killed too
});
beforeEach(async () => {
  await untilHealthy();
  context = await browser.newContext();
});
afterEach(() => context.close());
afterAll(async () => {
  redis.disconnect();
  await browser.close();
});

async function connectedPage(): Promise<SdkPage> {
  const page = await SdkPage.open(context, siteUrl);
  await page.connect(wsUrl);
  return page;
}

async function streaming() {
  const name = `kill-${randomUUID().slice(0, 8)}`;
  const [publisher, player] = await Promise.all([connectedPage(), connectedPage()]);
  await publisher.publish('out', { name });
  await publisher.waitForEvent('out', 'PUBLISHING');
  await player.play('in', { name });
  await player.waitForEvent('in', 'PLAYING');
  await waitFor(async () => (await received(player.page)).framesDecoded > 10, { timeoutMs: 20_000 });
  return { name, publisher, player };
}

/** Publishes and plays under a name, again and again until it works, like a client that reconnects. */
const untilPublished = (name: string) =>
  waitFor(
    async () => {
      const page = await SdkPage.open(context, siteUrl);
      try {
        await page.startSession(wsUrl);
        await page.waitForEvent('session', 'ESTABLISHED', 2_000);
        await page.publish('out', { name });
        await page.waitForEvent('out', 'PUBLISHING', 5_000);
        await page.play('in', { name });
        await page.waitForEvent('in', 'PLAYING', 5_000);
        return true;
      } finally {
        await page.close();
      }
    },
    { timeoutMs: RECOVERY_MS, what: `a new publication of ${name}` },
  );

describe('a process that is paused for a while', () => {
  it.each(['nats', 'redis', 'wcs-signalling', 'media', 'gateway'])(
    '%s: no session ends, media keeps flowing, and the health report is true',
    async (name) => {
      const { publisher, player } = await streaming();
      const paused = pause(name, 8_000);
      if (name === 'nats' || name === 'redis')
        await waitFor(async () => (await fetch(`${httpUrl}/healthz`)).status === 503, { timeoutMs: 8_000 });
      await paused;
      await untilHealthy();
      // By now, sessions that were wrongly taken for dead would have ended.
      await sleep(6_000);
      const before = (await received(player.page)).framesDecoded;
      await waitFor(async () => (await received(player.page)).framesDecoded > before + 30, { timeoutMs: 15_000 });
      const events = [...(await publisher.events()), ...(await player.events())];
      expect(events.filter(({ what }) => ['FAILED', 'DISCONNECTED', 'STOPPED', 'UNPUBLISHED'].includes(what))).toEqual(
        [],
      );
      await player.call('in', 'stop');
      await player.waitForEvent('in', 'STOPPED');
      await publisher.call('out', 'stop');
      await publisher.waitForEvent('out', 'UNPUBLISHED');
    },
  );
});

describe('kill -9 of a process while a stream plays', () => {
  it.each(['auth', 'nats', 'redis', 'postgres'])(
    '%s: media keeps flowing, no session ends, and new ones work after the restart',
    async (name) => {
      const { publisher, player } = await streaming();
      await killAndAwaitRestart(name);
      const before = (await received(player.page)).framesDecoded;
      await waitFor(async () => (await received(player.page)).framesDecoded > before + 30, { timeoutMs: 15_000 });
      await untilPublished(`after-${randomUUID().slice(0, 8)}`);
      const events = [...(await publisher.events()), ...(await player.events())];
      expect(events.filter(({ what }) => ['FAILED', 'DISCONNECTED', 'STOPPED', 'UNPUBLISHED'].includes(what))).toEqual(
        [],
      );
      await player.call('in', 'stop');
      await player.waitForEvent('in', 'STOPPED');
      await untilHealthy();
      const login = await fetch(`${httpUrl}/auth/`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ username, password }),
      });
      expect(login.status).toBe(200);
    },
  );

  it.each(['gateway', 'wcs-signalling'])(
    '%s: clients lose their sockets, and nothing is left of their sessions',
    async (name) => {
      const stream = await streaming();
      await killAndAwaitRestart(name);
      await waitFor(async () =>
        (await stream.player.events()).some(({ of, what }) => of === 'session' && /DISCONNECTED|FAILED/.test(what)),
      );
      await untilPublished(stream.name);
      await waitFor(async () => (await redis.keys(`weir:stream:*:${stream.name}`)).length === 0, { timeoutMs: 15_000 });
      await untilHealthy();
      const list = await fetch(`${httpUrl}/rest-api/stream/find_all`, {
        headers: { authorization: `Bearer ${operatorKey}` },
      });
      expect(await list.text()).not.toContain(stream.name);
    },
  );

  it('media: publisher and player are told at once, and the name can be published again', async () => {
    const { name, publisher, player } = await streaming();
    await killAndAwaitRestart('media');
    await publisher.waitForEvent('out', 'FAILED', 10_000);
    await player.waitForEvent('in', 'FAILED', 10_000);
    const again = await connectedPage();
    await waitFor(
      async () => {
        await again.publish(`out-${randomUUID()}`, { name });
        return (await again.events()).some(({ what }) => what === 'PUBLISHING');
      },
      { timeoutMs: RECOVERY_MS, intervalMs: 1_000, what: `a new publication of ${name}` },
    );
  });
});
