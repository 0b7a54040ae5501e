import { startRedis, waitFor, type TestServer } from '@weir/testing';
import { Redis } from 'ioredis';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { play, see, startChromium } from '../testing/browser-peer.js';
import { H264_AAC, H264_B_FRAMES, H264_LONG_GOP, H264_OPUS, H265_PCMU, RtspNode } from '../testing/rtsp-node.js';

let browser: Browser;
let context: BrowserContext;
let redisServer: TestServer;
let redis: Redis;
let node: RtspNode;

beforeAll(async () => {
  redisServer = await startRedis();
  redis = new Redis(redisServer.url);
  browser = await startChromium();
});
beforeEach(async () => {
  node = await RtspNode.start(redis);
  context = await browser.newContext();
});
afterEach(async () => {
  await context.close();
  await node.close();
});
afterAll(async () => {
  await browser.close();
  redis.disconnect();
  await redisServer.stop();
});

const stage = () => ({ context, webRtc: node.recorded.webRtc });

async function camera(options: readonly string[]): Promise<void> {
  node.push(await node.awaitPush('cam', 's1'), options);
  await waitFor(() => node.recorded.has('s1', 'connected'), { timeoutMs: 15_000, what: 'the camera' });
}

const expectMedia = (page: Page) =>
  waitFor(
    async () => {
      const { framesDecoded, audioEnergy } = await see(page);
      return framesDecoded > 20 && audioEnergy > 0;
    },
    { timeoutMs: 20_000, what: 'picture and sound' },
  );

const ffmpegsOfNode = () => node.transcodes;

describe('an RTSP source in Chromium', () => {
  it('is seen and heard as it is, H.264 and Opus', async () => {
    await camera(H264_OPUS);
    const { page, answer } = await play(stage(), 'v1');
    expect(answer.codecs).toEqual({ audio: 'opus', video: 'H264' });
    await expectMedia(page);
    expect(ffmpegsOfNode()).toBe(0);
    expect(await see(page)).toMatchObject({ width: 320, height: 240, codec: 'video/H264' });
  });

  it.each([
    ['AAC', H264_AAC],
    ['B-frames', H264_B_FRAMES],
    ['H.265', H265_PCMU],
  ])('is transcoded by one ffmpeg for all WebRTC viewers, and only for them: %s', async (_name, options) => {
    await camera(options);
    // Only the stream itself shows B-frames, not its description.
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(ffmpegsOfNode()).toBe(0);
    const first = await play(stage(), 'v1');
    await expectMedia(first.page);
    const second = await play(stage(), 'v2');
    await expectMedia(second.page);
    expect(ffmpegsOfNode()).toBe(1);
    node.recorded.core.closeSession('v1', 1);
    node.recorded.core.closeSession('v2', 1);
    await waitFor(() => ffmpegsOfNode() === 0);
  });

  it.each([
    // When the viewer is connected, the key frame has passed, and the end of the GOP is far away.
    ['just after it', 0],
    ['in the middle of a GOP', 2_500],
  ])('shows a picture at once to a viewer who comes %s, although key frames are rare', async (_name, afterMs) => {
    await camera(H264_LONG_GOP);
    await waitFor(() => (node.recorded.core.findLocal('demo', 'cam')?.videoMeter?.keyFrames ?? 0) > 0);
    await new Promise((resolve) => setTimeout(resolve, afterMs));
    const keyFramesBefore = node.recorded.core.findLocal('demo', 'cam')?.videoMeter?.keyFrames;
    const { page } = await play(stage(), 'v1');
    await waitFor(async () => (await see(page)).width === 320, { timeoutMs: 10_000 });
    expect(node.recorded.core.findLocal('demo', 'cam')?.videoMeter?.keyFrames).toBe(keyFramesBefore);
    await expectMedia(page);
  });

  it('feeds each of its first viewers alone, and those who come later together', async () => {
    await node.close();
    node = await RtspNode.start(redis, {}, { maxOwnFeeds: 1 });
    await camera(H264_OPUS);
    const pages = await Promise.all([play(stage(), 'v1'), play(stage(), 'v2'), play(stage(), 'v3')]);
    await Promise.all(pages.map(({ page }) => expectMedia(page)));
    // One feed for the first viewer's picture, one for the pictures of the others, and one for all viewers' sound.
    expect(node.recorded.core.pipeCount).toBe(3);
    node.recorded.core.closeSession('v1', 1);
    const { page } = await play(stage(), 'v4');
    await expectMedia(page);
    expect(node.recorded.core.pipeCount).toBe(3);
    for (const session of ['v2', 'v3', 'v4']) node.recorded.core.closeSession(session, 1);
    await waitFor(() => node.recorded.core.pipeCount === 0);
  });
});
