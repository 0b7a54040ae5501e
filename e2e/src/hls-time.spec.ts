import { waitFor } from '@weir/testing';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { openPage, startBrowser } from './browser.js';
import { pictureOf, playByHls } from './hls-player.js';
import { RobotApp } from './robot-app.js';
import { type CodedVideo, encodeTestPicture, type PushHabits, RtspPusher } from './rtsp-pusher.js';
import { removeRobot, TestRobot } from './test-robot.js';

const { httpUrl, siteUrl, username, password, operatorKey } = inject('platform');
const ROBOT = { httpUrl, operatorKey, id: 'clockless' };
/** When a fault that happens once happens. */
const FAULT_S = 8;

const CAMERAS: Record<string, PushHabits> = {
  fast: { rate: 1.05, firstTimestamp: 2 ** 32 - 90_000 * 5 },
  stepping: { step: { atS: FAULT_S, byS: 2 } },
  claiming: { strays: { each: 37, byS: 7_200 } },
  pausing: { hole: { atS: FAULT_S, lastingS: 2.5 } },
  slower: { slow: { fromS: FAULT_S, fps: 4 } },
};
/** How many discontinuities the fault of each camera may cause. */
const MOST: Record<string, number> = { pausing: 1, stepping: 1 };

let token: string;
let app: RobotApp;
let robot: TestRobot;
let browser: Browser;
let short: CodedVideo;
const pushers = new Map<string, RtspPusher>();

const playlistOf = (camera: string) => `${httpUrl}/videos/${ROBOT.id}/${camera}/index.m3u8`;

async function mediaPlaylist(camera: string): Promise<string> {
  const response = await fetch(playlistOf(camera).replace('index', 'media'), {
    headers: { authorization: `Bearer ${token}` },
  });
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
  return response.text();
}

/** The lines of a playlist that players rely on not to change. */
const promises = (text: string) => /PART-HOLD-BACK=[\d.]+\n#EXT-X-PART-INF:PART-TARGET=[\d.]+/.exec(text)?.[0];

async function watch(camera: string): Promise<Page> {
  const page = await openPage(await browser.newContext(), siteUrl);
  await playByHls(page, siteUrl, playlistOf(camera), token);
  return page;
}

const untilShown = (page: Page, pictures: number, what: string) =>
  waitFor(async () => (await pictureOf(page, '#hls')).frames >= pictures, { timeoutMs: 40_000, what });

const untilSent = (camera: string, pictures: number) =>
  waitFor(() => (pushers.get(camera)?.sent ?? 0) >= pictures, { timeoutMs: 60_000, what: `${pictures} pictures` });

beforeAll(async () => {
  const response = await fetch(`${httpUrl}/auth/`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username, password }),
  });
  token = ((await response.json()) as { ret: { token: string } }).ret.token;
  browser = await startBrowser();
  short = await encodeTestPicture();
  robot = await TestRobot.connect({
    ...ROBOT,
    cameras: Object.keys(CAMERAS),
    picture: () => [],
    answer: (camera, uri) => {
      if (uri === '') return { ec: 0, dm: 'ok' }; // a command to stop
      const pushed = RtspPusher.push(uri, short, CAMERAS[camera] ?? {});
      pushed.then(
        (pusher) => pushers.set(camera, pusher),
        (error: unknown) => console.error(camera, error),
      );
      return { ec: 0, dm: 'ok' };
    },
  });
  app = await RobotApp.open(`${httpUrl.replace('http:', 'ws:')}/channel/app?token=${token}`);
});
afterAll(async () => {
  for (const pusher of pushers.values()) pusher.close();
  app.socket.terminate();
  robot.close();
  await removeRobot(ROBOT, ROBOT.id);
  await browser.close();
});

describe.concurrent('hls.js plays a camera whose time is wrong', { timeout: 120_000 }, () => {
  it.each(Object.keys(CAMERAS))('%s', async (camera) => {
    await app.startStream(ROBOT.id, camera);
    const page = await watch(camera);
    await untilShown(page, 15, 'its first second');
    const before = await mediaPlaylist(camera);
    const fps = 15;
    await untilSent(camera, (FAULT_S + 1) * fps);
    const { frames: shownThen, positionS } = await pictureOf(page, '#hls');
    const sentThen = pushers.get(camera)?.sent ?? 0;
    const more = CAMERAS[camera]?.slow ? 24 : 6 * fps;
    await untilSent(camera, sentThen + more);
    // All of them, except those in transit.
    await untilShown(page, shownThen + more - fps, 'the pictures that were sent');
    expect((await pictureOf(page, '#hls')).positionS).toBeGreaterThan(positionS);
    const after = await mediaPlaylist(camera);
    expect(promises(after)).toBe(promises(before));
    const discontinuities = (text: string) => Number(/DISCONTINUITY-SEQUENCE:(\d+)/.exec(text)?.[1] ?? 0);
    const counted = (text: string) => discontinuities(text) + (text.match(/#EXT-X-DISCONTINUITY\n/g)?.length ?? 0);
    expect(counted(after) - counted(before)).toBeLessThanOrEqual(MOST[camera] ?? 0);
    await page.context().close();
  });
});
