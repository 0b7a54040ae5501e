import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { waitFor } from '@weir/testing';
import { Redis } from 'ioredis';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { z } from 'zod';
import { startBrowser } from './browser.js';
import { closeCall, heard, messagesOf, openCall, openDevicePage, type Sending } from './call-page.js';

const { httpUrl, siteUrl, dataDir, redisUrl } = inject('platform');

const { appId, appKey, devices } = z
  .object({
    calls: z.object({
      appId: z.string(),
      appKey: z.string(),
      devices: z.array(z.object({ cid: z.number(), token: z.string() })).min(3),
    }),
  })
  .parse(JSON.parse(readFileSync(join(dataDir, 'credentials.json'), 'utf8'))).calls;

const deviceAt = (index: number): { cid: number; token: string } => {
  const device = devices[index];
  if (device === undefined) throw new Error('the credentials file has too few devices');
  return device;
};
const [A, B, C] = [deviceAt(0), deviceAt(1), deviceAt(2)];

let browser: Browser;
let context: BrowserContext;
let redis: Redis;

beforeAll(async () => {
  browser = await startBrowser();
  redis = new Redis(redisUrl);
});
beforeEach(async () => {
  context = await browser.newContext();
});
afterEach(() => context.close());
afterAll(async () => {
  await browser.close();
  redis.disconnect();
});

/** The application's server asks the platform. */
async function asked(path: string, body: object): Promise<unknown> {
  const response = await fetch(httpUrl + path, {
    method: 'POST',
    headers: { 'X-APP-ID': appId, 'X-APP-Key': appKey, 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  expect(response.status, await response.clone().text()).toBe(200);
  return response.json();
}

const states = z.object({
  devices: z.array(z.object({ cid: z.number(), state: z.number(), tracker_ip: z.string(), tracker_port: z.number() })),
});

async function stateOf(cid: number) {
  const [state] = states.parse(await asked('/v2/devices/state?page=1&size=20', { cids: [cid] })).devices;
  if (state === undefined) throw new Error('the device has no state');
  return state;
}

async function urlOf({ cid, token }: { cid: number; token: string }): Promise<string> {
  const { tracker_ip: ip, tracker_port: port } = await stateOf(cid);
  return `topvdn://${ip}:${port}?protocolType=1&token=${token}`;
}

const device = ({ token }: { token: string }, sending: Sending): Promise<Page> =>
  openDevicePage(context, { pageUrl: siteUrl, serverUrl: httpUrl, token, ...sending });

const RED: Sending = { colour: '#ff0000', toneHz: 500 };
const BLUE: Sending = { colour: '#0000ff', toneHz: 1_200 };

/** Steps 2 to 5 of the vendor's flow: the server pushes the caller's URL, and the callee opens what it got. */
async function call(caller: typeof A, callee: { cid: number; page: Page }): Promise<number | undefined> {
  const url = await urlOf(caller);
  const before = (await messagesOf(callee.page)).length;
  const msg = Buffer.from(url).toString('base64');
  await asked('/v2/message/server/push', { proxy: 0, payload: { msg, flag: 2, clients: [callee.cid] } });
  let pushed: string | undefined;
  await waitFor(async () => {
    pushed = (await messagesOf(callee.page)).slice(before).find((message) => message.startsWith('PopMessage topvdn'));
    return pushed !== undefined;
  });
  return openCall(callee.page, pushed?.replace('PopMessage ', '') ?? '');
}

async function expectToHear(page: Page, { colour, toneHz = 0 }: Sending): Promise<void> {
  let got = await heard(page);
  await waitFor(
    async () => {
      got = await heard(page);
      return got.framesDecoded > 20 && Math.abs(got.toneHz - toneHz) < 15;
    },
    { timeoutMs: 30_000, what: 'picture and sound' },
  );
  const [red = 0, green = 0, blue = 0] = got.colour;
  const [strong, weak] = colour === RED.colour ? [red, blue] : [blue, red];
  expect(strong).toBeGreaterThan(Math.max(weak, green) + 100);
}

const ended = (page: Page, cause: string): Promise<unknown> =>
  waitFor(async () => (await heard(page)).cause === cause, { timeoutMs: 20_000, what: `the end "${cause}"` });

const closings = async (page: Page): Promise<string[]> =>
  (await messagesOf(page)).filter((message) => message.startsWith('ConnectionClosed'));

/** Nothing of any call is left. */
async function expectNothingLeft(): Promise<void> {
  await waitFor(async () => {
    const keys = [...(await redis.keys('call-broker:call:*')), ...(await redis.keys('call-broker:place:*'))];
    const streams = (await redis.keys('*')).filter((key) => key.includes('calls/') && !key.includes('-epoch:'));
    return keys.length === 0 && streams.length === 0;
  });
}

async function pair(): Promise<{ a: Page; b: Page }> {
  const [a, b] = await Promise.all([device(A, RED), device(B, BLUE)]);
  return { a, b };
}

async function talking(): Promise<{ a: Page; b: Page }> {
  const { a, b } = await pair();
  expect(await call(A, { cid: B.cid, page: b })).toBeUndefined();
  await Promise.all([expectToHear(a, BLUE), expectToHear(b, RED)]);
  return { a, b };
}

describe('two devices', () => {
  it('see and hear each other in a call that only the HTTP calls and the device channel set up', async () => {
    const { a, b } = await talking();
    const { callId } = await heard(b);
    const accepted = (await messagesOf(a)).filter((message) => message.startsWith('ConnectionAcceptted'));
    expect(accepted.map((message) => JSON.parse(message.slice('ConnectionAcceptted '.length)) as unknown)).toEqual([
      {
        ...{ call_id: callId, cid: B.cid },
        ice_servers: [
          expect.objectContaining({ urls: [expect.stringMatching(/^stun:/)] }),
          {
            urls: expect.arrayContaining([expect.stringMatching(/^turn:/)]),
            ...{ username: expect.stringMatching(`^\\d+:${A.cid}$`), credential: expect.any(String) },
          },
        ],
      },
    ]);
    expect((await messagesOf(a)).some((message) => message.startsWith('StartPopData'))).toBe(true);
    expect((await messagesOf(b)).some((message) => message.startsWith('StartPopData'))).toBe(true);
    expect((await stateOf(A.cid)).state).toBe(4);
    await closeCall(b);
    await ended(a, 'closed');
    expect(await closings(a)).toEqual([`ConnectionClosed ${JSON.stringify({ call_id: callId, cause: 'closed' })}`]);
    await expectNothingLeft();
    await waitFor(async () => (await stateOf(A.cid)).state === 1);
  });

  it('are told when the caller closes, and can talk again at once', async () => {
    const { a, b } = await talking();
    await closeCall(a);
    await ended(b, 'closed');
    expect(await call(A, { cid: B.cid, page: b })).toBeUndefined();
    await Promise.all([expectToHear(a, BLUE), expectToHear(b, RED)]);
    await closeCall(a);
    await ended(b, 'closed');
    await expectNothingLeft();
  });

  it('get one call when both open at once', async () => {
    const { a, b } = await pair();
    const [urlA, urlB] = await Promise.all([urlOf(A), urlOf(B)]);
    await Promise.all([openCall(a, urlB), openCall(b, urlA)]);
    await Promise.all([expectToHear(a, BLUE), expectToHear(b, RED)]);
    expect((await heard(a)).callId).toBe((await heard(b)).callId);
    await closeCall(a);
    await ended(b, 'closed');
    await expectNothingLeft();
  });

  it('are not disturbed by a third one, which hears that they are busy', async () => {
    const { a, b } = await talking();
    const third = await device(C, BLUE);
    expect(await openCall(third, await urlOf(A))).toBe(-2104);
    expect(await openCall(a, await urlOf(C))).toBe(-2100);
    expect((await heard(b)).state).toBe('established');
    await closeCall(b);
    await waitFor(async () => (await closings(a)).length === 1);
    await expectNothingLeft();
  });

  it('learn what the other one has switched off', async () => {
    const { a, b } = await talking();
    await a.evaluate('window.call.mute({ video: true })');
    await waitFor(async () => (await heard(b)).peerMuted === '{"audio":false,"video":true}');
    await closeCall(a);
    await ended(b, 'closed');
  });

  it('talk when one of them has no camera, and when one only watches', async () => {
    const [a, b] = await Promise.all([device(A, { toneHz: 500 }), device(B, BLUE)]);
    await call(A, { cid: B.cid, page: b });
    await expectToHear(a, BLUE);
    await waitFor(async () => Math.abs((await heard(b)).toneHz - 500) < 15, { timeoutMs: 20_000 });
    await closeCall(a);
    await ended(b, 'closed');
    await a.close();
    const watching = await device(A, {});
    await call(A, { cid: B.cid, page: b });
    await expectToHear(watching, BLUE);
    await closeCall(b);
    await ended(watching, 'closed');
    await expectNothingLeft();
  });

  it('end their call when one of them goes away for good', async () => {
    const { a, b } = await talking();
    await b.close();
    await ended(a, 'channel-lost');
    await expectNothingLeft();
  });
});

describe('a URL', () => {
  it('of a device that is not connected, of oneself, or with a wrong token is refused', async () => {
    const { b } = await pair();
    const url = await urlOf(B);
    expect(await openCall(b, url)).toBe(-2106);
    expect(await openCall(b, url.replace(B.token, C.token))).toBe(-2007);
    expect(await openCall(b, `${(await urlOf(A)).slice(0, -1)}x`)).toBe(-2000);
    const wrong = A.token.replace(/_[0-9a-f]{32}$/, `_${'0'.repeat(32)}`);
    expect(await openCall(b, url.replace(B.token, wrong))).toBe(-2101);
  });
});
