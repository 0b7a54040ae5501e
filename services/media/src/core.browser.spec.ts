import { EndReason } from '@weir/contracts';
import { startRedis, waitFor, type TestServer } from '@weir/testing';
import { Redis } from 'ioredis';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { play, publish, see, startChromium, type Seen } from '../testing/browser-peer.js';
import { setTimeout as sleep } from 'node:timers/promises';
import { RecordedCore } from '../testing/recorded-core.js';
import type { MediaCore } from './core.js';
import { EVERYTHING_CHECKED, wholeNames } from './rtp-activity.js';

let browser: Browser;
let context: BrowserContext;
let redisServer: TestServer;
let redis: Redis;
let recorded: RecordedCore;
let core: MediaCore;

const has = (...told: Parameters<RecordedCore['has']>) => recorded.has(...told);

beforeAll(async () => {
  redisServer = await startRedis();
  redis = new Redis(redisServer.url);
  browser = await startChromium();
});
beforeEach(async () => {
  recorded = await RecordedCore.start(redis, { connectTimeoutMs: 15_000 });
  core = recorded.core;
  context = await browser.newContext();
});
afterEach(async () => {
  await context.close();
  recorded.close();
});
afterAll(async () => {
  await browser.close();
  redis.disconnect();
  await redisServer.stop();
});

const stage = () => ({ context, webRtc: recorded.webRtc });

async function expectPicture(page: Page): Promise<Seen> {
  let seen = await see(page);
  await waitFor(async () => {
    seen = await see(page);
    return seen.framesDecoded > 15 && seen.audioEnergy > 0 && (seen.left[0] ?? 0) > 150;
  });
  const [red = 0, , blueOfLeft = 0] = seen.left;
  const [redOfRight = 0, , blue = 0] = seen.right;
  expect(red).toBeGreaterThan(blueOfLeft + 100);
  expect(blue).toBeGreaterThan(redOfRight + 100);
  return seen;
}

describe('the media core with Chromium', () => {
  it('carries picture and sound from a publisher to a player in H.264, and tells the size', async () => {
    await publish(stage(), 'p1');
    await waitFor(() => has('p1', 'connected'));
    const { page } = await play(stage(), 'v1');
    const seen = await expectPicture(page);
    expect(seen.codec).toBe('video/H264');
    expect(seen.srtpCipher).toContain('AEAD_AES');
    await waitFor(() => has('v1', 'video-size'));
    expect(recorded.find('v1', 'video-size')).toMatchObject({
      width: seen.width,
      height: seen.height,
    });
  });

  it('carries VP8 to a player that numbers its codecs differently', async () => {
    await publish(stage(), 'p1', { prefer: 'VP8' });
    const { page, answer } = await play(stage(), 'v1', { renumber: true });
    expect(answer.answerSdp).toContain('a=rtpmap:119 opus/48000/2');
    expect((await expectPicture(page)).codec).toBe('video/VP8');
    expect(core.pipeCount).toBeGreaterThan(0);
  });

  it('carries media by TCP to a client that asks for it', async () => {
    await publish(stage(), 'p1', { tcp: true });
    const { page } = await play(stage(), 'v1', { tcp: true });
    expect((await expectPicture(page)).protocol).toBe('tcp');
  });

  it('serves a publisher that bundles everything', async () => {
    await publish(stage(), 'p1', { bundlePolicy: 'max-bundle' });
    const { page } = await play(stage(), 'v1', { bundlePolicy: 'max-bundle' });
    await expectPicture(page);
  });

  it('serves a player that wants a transport for each medium', async () => {
    await publish(stage(), 'p1');
    const { page, answer } = await play(stage(), 'v1', { unbundle: true });
    expect(answer.answerSdp).not.toContain('a=group:BUNDLE');
    expect(new Set(answer.answerSdp.match(/a=ice-ufrag:.*/g))).toHaveProperty('size', 2);
    await expectPicture(page);
  });

  it('takes a PNG of the current picture', async () => {
    await publish(stage(), 'p1');
    await waitFor(() => has('p1', 'connected'));
    const png = await core.snapshot('demo', 'cam');
    const page = await context.newPage();
    const pixels = await page.evaluate(async (base64) => {
      const image = new Image();
      image.src = `data:image/png;base64,${base64}`;
      await image.decode();
      const canvas = document.createElement('canvas');
      canvas.width = image.width;
      canvas.height = image.height;
      const drawing = canvas.getContext('2d');
      drawing?.drawImage(image, 0, 0);
      const at = (share: number) =>
        Array.from(drawing?.getImageData(Math.floor(image.width * share), image.height >> 1, 1, 1).data ?? []);
      return { left: at(0.25), right: at(0.75) };
    }, Buffer.from(png).toString('base64'));
    expect(pixels.left[0]).toBeGreaterThan(150);
    expect(pixels.right[2]).toBeGreaterThan(150);
  });

  it('ends a stream soon after its publisher has closed its connection', async () => {
    const { page } = await publish(stage(), 'p1');
    await waitFor(() => has('p1', 'connected'));
    await play(stage(), 'v1');
    await page.evaluate(() => (window as unknown as { pc: RTCPeerConnection }).pc.close());
    await waitFor(() => has('v1', 'ended'));
    expect(recorded.find('p1', 'ended')?.reason).toBe(EndReason.ICE_LOST);
  });

  it('lets a publisher take the name of one whose connection has just broken', async () => {
    const { page } = await publish(stage(), 'p1');
    await waitFor(() => has('p1', 'connected'));
    await page.evaluate(() => (window as unknown as { pc: RTCPeerConnection }).pc.close());
    await publish(stage(), 'p2');
    await waitFor(() => has('p2', 'connected'));
    expect(has('p1', 'ended')).toBe(true);
  });
});

describe('two clients that hear each other', () => {
  const talk = (
    name: string,
    peer: string,
    options: { isWatching?: boolean; bundlePolicy?: 'max-bundle'; prefer?: string } = {},
  ) => publish(stage(), `session-${name}`, { streamName: name, hears: peer, ...options });

  it('get picture and sound on the connections on which they send, whoever comes first', async () => {
    const first = await talk('b', 'a');
    await waitFor(() => has('session-b', 'connected'));
    const second = await talk('a', 'b', { bundlePolicy: 'max-bundle' });
    await expectPicture(second.page);
    expect((await expectPicture(first.page)).codec).toBe('video/VP8');
    // Both are on one worker and number their codecs alike.
    expect(core.pipeCount).toBe(0);
  });

  it('hear a peer again that has left and come back', async () => {
    const staying = await talk('b', 'a');
    const leaving = await talk('a', 'b');
    await expectPicture(staying.page);
    core.closeSession('session-a', EndReason.CLIENT);
    await leaving.page.close();
    await waitFor(() => has('session-a', 'ended'));
    const before = (await see(staying.page)).framesDecoded;
    await publish(stage(), 'session-a2', { streamName: 'a', hears: 'b' });
    await waitFor(async () => (await see(staying.page)).framesDecoded > before + 30);
  });

  it('have owners that are told which picture is not carried if they have no common video codec', async () => {
    await talk('b', 'a', { prefer: 'H264' });
    await talk('a', 'b', { prefer: 'VP8' });
    await waitFor(() => has('session-a', 'not-carried') && has('session-b', 'not-carried'));
    expect(recorded.find('session-a', 'not-carried')?.detail).toBe('video H264: the client takes VP8');
    expect(recorded.find('session-b', 'not-carried')?.detail).toBe('video VP8: the client takes H264');
  });

  it('may be one that only watches', async () => {
    const watching = await talk('b', 'a', { isWatching: true });
    await talk('a', 'b');
    await expectPicture(watching.page);
    expect(has('session-b', 'connected')).toBe(true);
  });

  it('end and leave nothing behind', async () => {
    await talk('b', 'a');
    await talk('a', 'b');
    await waitFor(() => has('session-a', 'connected') && has('session-b', 'connected'));
    core.closeSession('session-a', EndReason.CLIENT);
    core.closeSession('session-b', EndReason.CLIENT);
    expect(core.load).toEqual({ streams: 0, publishers: 0, players: 0 });
    await waitFor(() => core.pipeCount === 0 && recorded.workers.list().every(({ routerCount }) => routerCount === 0));
  });
});

describe('a session whose owner is gone', () => {
  it('waits for another owner as long as it may, and goes on with it', async () => {
    const { page } = await publish(stage(), 'p1', { orphanMs: 60_000 });
    await waitFor(() => has('p1', 'connected'));
    core.closeSessionsOf('owner');
    expect(core.adoptSession('p1', 'another')).toBe(true);
    core.closeSessionsOf('owner');
    expect(has('p1', 'ended')).toBe(false);
    await page.close();
  });

  it('ends when no other owner comes', async () => {
    await publish(stage(), 'p1', { orphanMs: 100 });
    core.closeSessionsOf('owner');
    await waitFor(() => recorded.find('p1', 'ended')?.reason === EndReason.OWNER_LOST);
    expect(() => core.adoptSession('p1', 'another')).toThrow('no such session');
  });
});

describe('a picture that stands still', () => {
  const NO_MEDIA_TIMEOUT_MS = 3_000;

  const standStill = async (rtpActivity: Partial<typeof EVERYTHING_CHECKED>) => {
    recorded.close();
    recorded = await RecordedCore.start(redis, {
      noMediaTimeoutMs: NO_MEDIA_TIMEOUT_MS,
      rtpActivity: { ...EVERYTHING_CHECKED, ...rtpActivity },
    });
    await publish(stage(), 'p1', { still: true });
    await waitFor(() => has('p1', 'connected'));
    const packets = async () => Number((await recorded.core.sessionStats(['p1']))[0]?.videoBps ?? 0n);
    await waitFor(async () => (await packets()) > 0);
    await waitFor(async () => (await packets()) === 0, { timeoutMs: 20_000 });
  };

  it('does not count as silence while its publisher sends sender reports', async () => {
    await standStill({});
    await sleep(3 * NO_MEDIA_TIMEOUT_MS);
    expect(has('p1', 'ended')).toBe(false);
  });

  it('is given up after the time for RTP activity', async () => {
    await standStill({ timeoutMs: 5_000 });
    await waitFor(() => has('p1', 'ended'), { timeoutMs: 20_000 });
    expect(recorded.find('p1', 'ended')).toMatchObject({ reason: EndReason.NO_MEDIA });
  });

  it('is never given up when its name is excluded', async () => {
    await standStill({ timeoutMs: 5_000, videoExclude: wholeNames('c.*') });
    await sleep(8_000);
    expect(has('p1', 'ended')).toBe(false);
  });
});
