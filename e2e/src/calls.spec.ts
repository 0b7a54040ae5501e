import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { waitFor } from '@weir/testing';
import { Redis } from 'ioredis';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { startBrowser } from './browser.js';
import { BLUE, CallApp, ended, expectToHear, RED, type CallDevice } from './call-app.js';
import { closeCall, heard, messagesOf, openCall } from './call-page.js';

const { httpUrl, siteUrl, redisUrl, calls } = inject('platform');
const app = new CallApp({ httpUrl, siteUrl, calls });
const [A, B, C] = [app.device(0), app.device(1), app.device(2)];

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

const device = (who: CallDevice, sending: Parameters<CallApp['openPage']>[2]): Promise<Page> =>
  app.openPage(context, who, sending);

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
  expect(await app.call(A, { cid: B.cid, page: b })).toBeUndefined();
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
    expect((await app.stateOf(A.cid)).state).toBe(4);
    await closeCall(b);
    await ended(a, 'closed');
    expect(await closings(a)).toEqual([`ConnectionClosed ${JSON.stringify({ call_id: callId, cause: 'closed' })}`]);
    await expectNothingLeft();
    await waitFor(async () => (await app.stateOf(A.cid)).state === 1);
  });

  it('are told when the caller closes, and can talk again at once', async () => {
    const { a, b } = await talking();
    await closeCall(a);
    await ended(b, 'closed');
    expect(await app.call(A, { cid: B.cid, page: b })).toBeUndefined();
    await Promise.all([expectToHear(a, BLUE), expectToHear(b, RED)]);
    await closeCall(a);
    await ended(b, 'closed');
    await expectNothingLeft();
  });

  it('can be watched at the address that their app is told while they talk, and nowhere else', async () => {
    const { a, b } = await talking();
    const { hls, rtmp_url } = await app.stateOf(A.cid);
    expect(rtmp_url).toBe('');
    const index = await waitFor(async () => {
      const response = await fetch(hls);
      return response.ok && (await response.text());
    });
    const [media = ''] = /^media\.m3u8.*$/m.exec(index) ?? [];
    expect(await (await fetch(new URL(media, hls))).text()).toContain('#EXTINF');
    const { stdout } = await promisify(execFile)(
      'ffmpeg',
      ['-v', 'error', '-i', hls, '-frames:v', '1', '-vf', 'scale=1:1', '-f', 'rawvideo', '-pix_fmt', 'rgb24', '-'],
      { encoding: 'buffer' },
    );
    const [red = 0, green = 0, blue = 0] = stdout;
    expect(red).toBeGreaterThan(Math.max(green, blue) + 100);
    const [bare = ''] = hls.split('?');
    const ofOther = hls.replace('caller', 'callee');
    const ofNoCall = bare.replace((await heard(a)).callId, '00000000-0000-0000-0000-000000000000');
    const refusals = await Promise.all(
      [bare, ofOther, ofNoCall].map(async (url) => {
        const response = await fetch(url);
        return [response.status, await response.text()];
      }),
    );
    expect(refusals.map(([status]) => status)).toEqual([401, 401, 401]);
    expect(refusals[2]).toEqual(refusals[0]);
    await closeCall(b);
    await ended(a, 'closed');
    await waitFor(async () => (await app.stateOf(A.cid)).hls === '');
  });

  it('get one call when both open at once', async () => {
    const { a, b } = await pair();
    const [urlA, urlB] = await Promise.all([app.urlOf(A), app.urlOf(B)]);
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
    expect(await openCall(third, await app.urlOf(A))).toBe(-2104);
    expect(await openCall(a, await app.urlOf(C))).toBe(-2100);
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
    await app.call(A, { cid: B.cid, page: b });
    await expectToHear(a, BLUE);
    await waitFor(async () => Math.abs((await heard(b)).toneHz - 500) < 15, { timeoutMs: 20_000 });
    await closeCall(a);
    await ended(b, 'closed');
    await a.close();
    const watching = await device(A, {});
    await app.call(A, { cid: B.cid, page: b });
    await expectToHear(watching, BLUE);
    await closeCall(b);
    await ended(watching, 'closed');
    await expectNothingLeft();
  });

  it('hear each other and are told that there is no picture if they have no common video codec', async () => {
    const [a, b] = await Promise.all([
      device(A, { ...RED, videoCodecs: ['video/VP8'] }),
      device(B, { ...BLUE, videoCodecs: ['video/H264'] }),
    ]);
    expect(await app.call(A, { cid: B.cid, page: b })).toBeUndefined();
    const [missesA, missesB] = ['video H264: the client takes VP8', 'video VP8: the client takes H264'];
    await waitFor(async () => (await heard(a)).missing.length === 2 && (await heard(b)).missing.length === 2);
    expect([...(await heard(a)).missing].sort()).toEqual([`received ${missesA}`, `sent ${missesB}`]);
    expect([...(await heard(b)).missing].sort()).toEqual([`received ${missesB}`, `sent ${missesA}`]);
    await waitFor(async () => Math.abs((await heard(a)).toneHz - 1_200) < 15, { timeoutMs: 20_000 });
    await waitFor(async () => Math.abs((await heard(b)).toneHz - 500) < 15, { timeoutMs: 20_000 });
    await closeCall(a);
    await ended(b, 'closed');
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
    const url = await app.urlOf(B);
    expect(await openCall(b, url)).toBe(-2106);
    expect(await openCall(b, url.replace(B.token, C.token))).toBe(-2007);
    expect(await openCall(b, `${(await app.urlOf(A)).slice(0, -1)}x`)).toBe(-2000);
    const wrong = A.token.replace(/_[0-9a-f]{32}$/, `_${'0'.repeat(32)}`);
    expect(await openCall(b, url.replace(B.token, wrong))).toBe(-2101);
  });
});
