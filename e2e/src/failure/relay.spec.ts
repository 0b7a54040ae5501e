import { randomUUID } from 'node:crypto';
import { waitFor } from '@weir/testing';
import type { Browser, BrowserContext } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, inject, it } from 'vitest';
import { received, startBrowser } from '../browser.js';
import { SdkPage } from '../sdk-page.js';
import { kill, killAndAwaitRestart, untilHealthy } from './kills.js';

const { httpUrl, siteUrl, operatorKey } = inject('platform');
const uri = httpUrl.replace('http:', 'ws:');

let browser: Browser;
let context: BrowserContext;

beforeAll(async () => {
  browser = await startBrowser();
});
beforeEach(async () => {
  await untilHealthy();
  context = await browser.newContext();
});
afterEach(async () => {
  await untilHealthy();
  await rest('terminate', { uri });
  await context.close();
});
afterAll(() => browser.close());

const rest = (method: string, body: object) =>
  fetch(`${httpUrl}/rest-api/pull/${method}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${operatorKey}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });

const statusOf = async (localStreamName: string): Promise<string | undefined> => {
  const response = await rest('find_all', {});
  if (response.status !== 200) return undefined;
  const relays = (await response.json()) as { localStreamName: string; status: string }[];
  return relays.find((relay) => relay.localStreamName === localStreamName)?.status;
};

const newName = () => `relay-${randomUUID().slice(0, 8)}`;

async function connectedPage(): Promise<SdkPage> {
  const page = await SdkPage.open(context, siteUrl);
  await page.connect(uri);
  return page;
}

async function expectPicture(name: string): Promise<void> {
  const player = await connectedPage();
  await player.play('in', { name });
  await player.waitForEvent('in', 'PLAYING');
  await waitFor(async () => (await received(player.page)).framesDecoded > 20, { timeoutMs: 20_000, what: 'a picture' });
  await player.close();
}

describe('when relay-push is killed', () => {
  it('its pushes and pulls come back by themselves', async () => {
    const [source, pushed, pulled] = [newName(), newName(), newName()];
    const publisher = await connectedPage();
    await publisher.publish('out', { name: source });
    await publisher.waitForEvent('out', 'PUBLISHING');
    await rest('push', { uri, localStreamName: source, remoteStreamName: pushed });
    await rest('pull', { uri, localStreamName: pulled, remoteStreamName: source });
    await expectPicture(pushed);
    await expectPicture(pulled);
    await killAndAwaitRestart('relay-push');
    await untilHealthy();
    await waitFor(async () => (await statusOf(source)) === 'PUBLISHING' && (await statusOf(pulled)) === 'PLAYING', {
      timeoutMs: 30_000,
      what: 'both relays',
    });
    await expectPicture(pushed);
    await expectPicture(pulled);
  });
});

describe('when the media node is killed', () => {
  it('a push waits for its source, and goes on when the source is back', async () => {
    const [source, pushed] = [newName(), newName()];
    const publisher = await connectedPage();
    await publisher.publish('out', { name: source });
    await publisher.waitForEvent('out', 'PUBLISHING');
    await rest('push', { uri, localStreamName: source, remoteStreamName: pushed });
    await expectPicture(pushed);
    await kill('media');
    await publisher.waitForEvent('out', 'FAILED');
    await waitFor(async () => (await statusOf(source)) === 'PENDING', { timeoutMs: 20_000, what: 'waiting' });
    await untilHealthy();
    const again = await connectedPage();
    await again.publish('out', { name: source });
    await again.waitForEvent('out', 'PUBLISHING');
    await waitFor(async () => (await statusOf(source)) === 'PUBLISHING', { timeoutMs: 30_000, what: 'the relay' });
    await expectPicture(pushed);
  });
});
