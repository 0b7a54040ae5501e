import { randomUUID } from 'node:crypto';
import { waitFor } from '@weir/testing';
import type { Browser, BrowserContext } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { startBrowser } from './browser.js';
import { expectPictureAndSound } from './picture-and-sound.js';
import { SdkPage } from './sdk-page.js';

const { httpUrl, siteUrl, operatorKey } = inject('platform');
/** The platform relays to itself; the stream names tell the two ends apart. */
const uri = httpUrl.replace('http:', 'ws:');

interface Relay {
  localMediaSessionId: string | null;
  remoteMediaSessionId: string | null;
  localStreamName: string;
  remoteStreamName: string;
  uri: string;
  status: string;
}

let browser: Browser;
let context: BrowserContext;

beforeAll(async () => {
  browser = await startBrowser();
});
beforeEach(async () => {
  context = await browser.newContext();
});
afterEach(async () => {
  await rest('terminate', { uri });
  await context.close();
});
afterAll(() => browser.close());

const rest = async (method: string, body?: object, key = operatorKey) => {
  const response = await fetch(`${httpUrl}/rest-api/pull/${method}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, text: await response.text() };
};

const relays = async (): Promise<Relay[]> => {
  const { status, text } = await rest('find_all');
  return status === 404 ? [] : (JSON.parse(text) as Relay[]);
};

const statusOf = async (localStreamName: string) =>
  (await relays()).find((relay) => relay.localStreamName === localStreamName)?.status;

const newName = () => `relay-${randomUUID().slice(0, 8)}`;

async function connectedPage(): Promise<SdkPage> {
  const page = await SdkPage.open(context, siteUrl);
  await page.connect(uri);
  return page;
}

async function publisherOf(name: string, options: Record<string, unknown> = {}): Promise<SdkPage> {
  const page = await connectedPage();
  await page.publish('out', { name, options });
  await page.waitForEvent('out', 'PUBLISHING');
  return page;
}

async function playerOf(name: string): Promise<SdkPage> {
  const page = await connectedPage();
  await page.play('in', { name });
  await page.waitForEvent('in', 'PLAYING');
  return page;
}

describe('a stream pushed to another server', () => {
  it('is played there by the unmodified WebSDK, and every step is reported as in the original', async () => {
    const [local, remote] = [newName(), newName()];
    const publisher = await publisherOf(local);
    expect(await rest('push', { uri, localStreamName: local, remoteStreamName: remote })).toEqual({
      status: 200,
      text: '',
    });
    const player = await playerOf(remote);
    await expectPictureAndSound(player);
    await waitFor(async () => (await statusOf(local)) === 'PUBLISHING', { what: 'the state in the list' });
    expect(await relays()).toEqual([
      expect.objectContaining({ localStreamName: local, remoteStreamName: remote, uri }),
    ]);
    await player.call('in', 'stop');
    await player.waitForEvent('in', 'STOPPED');
    await publisher.call('out', 'stop');
    await publisher.waitForEvent('out', 'UNPUBLISHED');
    await waitFor(async () => (await relays()).length === 0, { what: 'the end of the relay' });
  });

  it('ends there together with its source, and its players are told', async () => {
    const [local, remote] = [newName(), newName()];
    const publisher = await publisherOf(local);
    await rest('push', { uri, localStreamName: local, remoteStreamName: remote });
    const player = await playerOf(remote);
    await expectPictureAndSound(player);
    await publisher.close();
    const { info } = await player.waitForEvent('in', 'FAILED');
    expect(info).toBe('Stopped by publisher stop');
  });

  it('can be relayed further, and to several names at once', async () => {
    const [first, second, third, beside] = [newName(), newName(), newName(), newName()];
    await publisherOf(first);
    for (const [localStreamName, remoteStreamName] of [
      [first, second],
      [second, third],
      [first, beside],
    ])
      expect(await rest('push', { uri, localStreamName, remoteStreamName })).toMatchObject({ status: 200 });
    const players = [await playerOf(third), await playerOf(beside)];
    for (const player of players) await expectPictureAndSound(player);
  });

  it('stays VP8', async () => {
    const [local, remote] = [newName(), newName()];
    await publisherOf(local, { stripCodecs: 'h264,H264,av1,AV1,vp9,VP9' });
    await rest('push', { uri, localStreamName: local, remoteStreamName: remote });
    const player = await playerOf(remote);
    await expectPictureAndSound(player);
    const [[status] = []] = player.framesReceived('notifyStreamStatusEvent').slice(-1);
    expect(status).toMatchObject({ status: 'PLAYING', videoCodec: 'VP8', audioCodec: 'opus' });
  });
});

describe('a stream pulled from another server', () => {
  it('appears under its local name and is played by the unmodified WebSDK', async () => {
    const [local, remote] = [newName(), newName()];
    await publisherOf(remote);
    expect(await rest('pull', { uri, localStreamName: local, remoteStreamName: remote })).toEqual({
      status: 200,
      text: '',
    });
    await expectPictureAndSound(await playerOf(local));
    await waitFor(async () => (await statusOf(local)) === 'PLAYING', { what: 'the state in the list' });
    expect(await rest('terminate', { localStreamName: local })).toEqual({ status: 200, text: '' });
    expect(await relays()).toEqual([]);
  });
});

describe('a relay that can’t be opened', () => {
  it('is refused with the original’s statuses', async () => {
    const [local, remote] = [newName(), newName()];
    await publisherOf(local);
    const push = (uriOfServer: string, localStreamName: string, remoteStreamName: string) =>
      rest('push', { uri: uriOfServer, localStreamName, remoteStreamName });
    expect((await push(uri, newName(), remote)).status).toBe(404);
    expect((await push(uri, local, local)).status).toBe(409);
    expect((await push('ws://127.0.0.1:9', local, remote)).status).toBe(500);
    expect((await push('ws://10.255.255.1:8080', local, remote)).status).toBe(500);
    expect((await push('nonsense', local, remote)).status).toBe(500);
    expect((await push(uri, local, remote)).status).toBe(200);
    expect((await push(uri, local, remote)).status).toBe(409);
    expect((await rest('pull', { uri, localStreamName: local, remoteStreamName: remote })).status).toBe(409);
    expect((await rest('terminate', { localStreamName: newName() })).status).toBe(404);
  });

  it('is refused to clients without a key', async () => {
    expect((await rest('find_all', undefined, '')).status).toBe(401);
    expect((await rest('push', {}, 'weir_nobody')).status).toBe(401);
  });
});
