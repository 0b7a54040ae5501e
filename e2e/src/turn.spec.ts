import { createHmac, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { TurnClient } from '@weir/testing';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { startBrowser } from './browser.js';
import { BLUE, CallApp, ended, expectToHear, RED } from './call-app.js';
import { closeCall } from './call-page.js';
import { expectPictureAndSound } from './picture-and-sound.js';
import { SdkPage } from './sdk-page.js';

const { httpUrl, siteUrl, dataDir, turnPort, natsUrl, redisUrl, databaseUrl, calls } = inject('platform');
const wsUrl = httpUrl.replace('http:', 'ws:');

/** Made as another program would make them, from the secret that the machine has made. */
function credentials() {
  const secret = readFileSync(join(dataDir, 'turn-secret'), 'utf8').trim();
  const username = `${Math.floor(Date.now() / 1_000) + 3_600}:${randomUUID()}`;
  return { username, credential: createHmac('sha1', secret).update(username).digest('base64') };
}

describe('a client that reaches nothing but the TURN server', () => {
  let browser: Browser;
  let context: BrowserContext;

  beforeAll(async () => {
    browser = await startBrowser();
  });
  beforeEach(async () => {
    context = await browser.newContext();
  });
  afterEach(() => context.close());
  afterAll(() => browser.close());

  /** The WebSDK with candidates of the TURN server only: the browser neither offers nor tries any other. */
  async function relayedPage(transport: 'udp' | 'tcp'): Promise<SdkPage> {
    const iceServers = [{ urls: `turn:127.0.0.1:${turnPort}?transport=${transport}`, ...credentials() }];
    const page = await SdkPage.open(context, siteUrl);
    await page.connect(wsUrl, { mediaOptions: { iceServers, iceTransportPolicy: 'relay' } });
    return page;
  }

  it.each(['udp', 'tcp'] as const)('publishes and plays, picture and sound, over %s', async (transport) => {
    const name = `turn-${transport}-${randomUUID().slice(0, 8)}`;
    const publisher = await relayedPage(transport);
    await publisher.publish('out', { name });
    await publisher.waitForEvent('out', 'PUBLISHING');
    const player = await relayedPage(transport);
    await player.play('in', { name });
    await player.waitForEvent('in', 'PLAYING');
    await expectPictureAndSound(player);
    for (const { page } of [publisher, player])
      expect(await paths(page)).toEqual([{ candidateType: 'relay', relayProtocol: transport }]);
  });

  it('calls another one like it, both by the servers that the platform tells them', async () => {
    const app = new CallApp({ httpUrl, siteUrl, calls });
    const [a, b] = [app.device(0), app.device(1)];
    const [pageA, pageB] = await Promise.all([
      app.openPage(context, a, { ...RED, relayedBy: 'udp' }),
      app.openPage(context, b, { ...BLUE, relayedBy: 'tcp' }),
    ]);
    expect(await app.call(a, { cid: b.cid, page: pageB })).toBeUndefined();
    await Promise.all([expectToHear(pageA, BLUE), expectToHear(pageB, RED)]);
    expect(await paths(pageA)).toEqual([{ candidateType: 'relay', relayProtocol: 'udp' }]);
    expect(await paths(pageB)).toEqual([{ candidateType: 'relay', relayProtocol: 'tcp' }]);
    await closeCall(pageA);
    await ended(pageB, 'closed');
  });
});

/** How the media of a page's connections leave the browser. */
const paths = (page: Page) =>
  page.evaluate(async () => {
    const { connections } = window as unknown as { connections: RTCPeerConnection[] };
    const found: { candidateType: unknown; relayProtocol: unknown }[] = [];
    for (const connection of connections) {
      const reports = [...(await connection.getStats()).values()] as Record<string, unknown>[];
      const transport = reports.find(({ type }) => type === 'transport');
      const pair = reports.find(({ id }) => id === transport?.['selectedCandidatePairId']);
      const local = reports.find(({ id }) => id === pair?.['localCandidateId']);
      if (local !== undefined)
        found.push({ candidateType: local['candidateType'], relayProtocol: local['relayProtocol'] });
    }
    return found;
  });

describe("the platform's inner servers", () => {
  it.each([
    ['NATS', natsUrl],
    ['Redis', redisUrl],
    ['PostgreSQL', databaseUrl],
    ['the gateway, as one of the services on loopback', httpUrl],
  ])('are out of reach for a user of TURN: %s', async (_name, url) => {
    const { hostname, port } = new URL(url);
    const client = await TurnClient.open('127.0.0.1', turnPort, credentials());
    try {
      expect(await client.allocate()).toBe('granted');
      expect(await client.permit(hostname, Number(port))).toBe(403);
      expect(await client.connect(hostname, Number(port))).not.toBe('granted');
      expect(await client.exchange(hostname, Number(port), 'PING\r\n', 500)).toBeUndefined();
    } finally {
      client.close();
    }
  });
});
