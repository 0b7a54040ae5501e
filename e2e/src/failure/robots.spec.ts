import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { waitFor } from '@weir/testing';
import type { Browser, BrowserContext } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { openPage, received, startBrowser } from '../browser.js';
import { endOfPlaylistS, pictureOf, playByHls } from '../hls-player.js';
import { RobotApp } from '../robot-app.js';
import { SdkPage } from '../sdk-page.js';
import { TestRobot, type Said } from '../test-robot.js';
import { killAndAwaitRestart, untilHealthy } from './kills.js';

const { httpUrl, siteUrl, username, password, operatorKey, rtspPort, robots } = inject('platform');
const wsUrl = httpUrl.replace('http:', 'ws:');
const run = promisify(execFile);
const [robot] = robots;
if (robot === undefined) throw new Error('the demo has no robots');
const camera = robot.cameras[0] ?? '';
const playlistUrl = `${httpUrl}/videos/${robot.id}/index.m3u8`;

let token: string;
let app: RobotApp;
let browser: Browser;
let context: BrowserContext;
const testRobots: TestRobot[] = [];
let wrongRobots: ReturnType<typeof askWrongRobots>;

beforeAll(async () => {
  browser = await startBrowser();
  await untilHealthy();
  const response = await fetch(`${httpUrl}/auth/`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username, password }),
  });
  token = ((await response.json()) as { ret: { token: string } }).ret.token;
  // A robot that says nothing has 15 s to answer, which pass while the other tests run.
  wrongRobots = askWrongRobots();
  wrongRobots.catch(() => undefined); // its test reports the error
}, 60_000);
beforeEach(async () => {
  await untilHealthy();
  await openApp();
  context = await browser.newContext();
});
afterEach(async () => {
  app.socket.terminate();
  for (const testRobot of testRobots.splice(0)) testRobot.close();
  await context.close();
});
afterAll(() => browser.close());

const openAnApp = () => RobotApp.open(`${wsUrl}/channel/app?token=${token}`);
async function openApp(): Promise<void> {
  app = await openAnApp();
}

/** The states of the demo's robot that the app was told without asking. */
const statesTold = () =>
  app.received.flatMap(({ act, arg }) => (act === 'robot.state' && arg?.robot_id === robot.id ? [arg.status] : []));

/** Asks for the stream until it is there, like an app that retries. */
const untilStarted = () =>
  waitFor(async () => (await app.startStream(robot.id, camera, randomUUID())).err.ec === 0, {
    timeoutMs: 20_000,
    intervalMs: 500,
    what: 'the stream of the robot',
  });

const playlist = () => fetch(playlistUrl, { headers: { authorization: `Bearer ${token}` } });
const untilPackaged = () =>
  waitFor(async () => (await playlist()).status === 200, { timeoutMs: 20_000, intervalMs: 250, what: 'the playlist' });

const ofProcess = (pid: string, file: 'cmdline' | 'environ'): string => {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return ''; // the process has just ended
  }
};

/** The ffmpeg processes that push to this platform, and those that its services have started. */
const ffmpegs = () =>
  readdirSync('/proc').filter((name) => {
    const command = /^\d+$/.test(name) ? ofProcess(name, 'cmdline') : '';
    if (!command.startsWith('ffmpeg')) return false;
    const isService = ofProcess(name, 'environ').split('\0').includes(`WEIR_RTSP_PORT=${rtspPort}`);
    return isService || command.includes(`:${rtspPort}/`);
  });

/** Waits until none is left of the processes that were there before something broke. */
const untilGone = (before: readonly string[]) =>
  waitFor(() => ffmpegs().every((pid) => !before.includes(pid)), {
    timeoutMs: 10_000,
    what: 'the end of every ffmpeg',
  });

const connectRobot = (picture: readonly string[], answer?: () => Said | undefined): Promise<TestRobot> =>
  TestRobot.connect({
    ...{ httpUrl, operatorKey, cameras: ['front'], picture: () => picture },
    ...{ id: `test_${randomUUID().slice(0, 8)}`, ...(answer !== undefined && { answer }) },
  });

/** The robot is closed after the test. */
async function connectTestRobot(picture: readonly string[]): Promise<TestRobot> {
  const testRobot = await connectRobot(picture);
  testRobots.push(testRobot);
  return testRobot;
}

/** The errors that an app gets when it asks robots that don't do what they should. */
async function askWrongRobots() {
  const anApp = await openAnApp();
  const start = async (picture: readonly string[], answer?: () => Said | undefined) => {
    const wrongRobot = await connectRobot(picture, answer);
    try {
      return (await anApp.startStream(wrongRobot.id, 'front', wrongRobot.id)).err;
    } finally {
      wrongRobot.close();
    }
  };
  try {
    return await Promise.all([
      start([], () => undefined),
      start([], () => ({ ec: 400, dm: 'ffmpeg_failed' })),
      start([], () => ({ ec: 400, dm: 'camera_broken', em: 'The lens is dirty' })),
      start(['-f', 'lavfi', '-i', 'no_such_source']),
    ]);
  } finally {
    anApp.socket.terminate();
  }
}

const TEST_PICTURE = ['-re', '-f', 'lavfi', '-i', 'testsrc2=size=320x240:rate=25'];
const TO_H264 = ['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-g', '25', '-pix_fmt', 'yuv420p'];

/** Players stop a little before the end of the last frame. */
const LAST_FRAMES_S = 0.15;

describe("a robot's stream when something breaks", () => {
  it('fails at once if the robot is not connected', async () => {
    const id = `absent_${randomUUID().slice(0, 8)}`;
    const made = await fetch(`${httpUrl}/channel/robots`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${operatorKey}` },
      body: JSON.stringify({ id, cameras: [{ name: 'front' }] }),
    });
    expect(made.ok).toBe(true);
    expect((await app.startStream(id, 'front')).err).toMatchObject({ ec: 400, dm: 'robot_offline' });
  });

  it('goes on when the source changes the picture size, over HLS and over WebRTC', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'weir-sizes-'));
    try {
      const sizes = join(folder, 'two-sizes.h264');
      const raw = ['-bf', '0', '-f', 'h264'];
      const source = (size: string, seconds: number) =>
        ['-f', 'lavfi', '-i', `testsrc2=size=${size}:rate=25:duration=${seconds}`].concat(TO_H264, raw);
      const first = join(folder, 'first.h264');
      const second = join(folder, 'second.h264');
      await run('ffmpeg', ['-loglevel', 'error', ...source('640x360', 12), first]);
      await run('ffmpeg', ['-loglevel', 'error', ...source('320x240', 60), second]);
      await run('sh', ['-c', `cat "${first}" "${second}" > "${sizes}"`]);
      const { id } = await connectTestRobot(['-re', '-f', 'h264', '-r', '25', '-i', sizes, '-c', 'copy']);
      expect((await app.startStream(id, 'front')).err).toMatchObject({ ec: 0 });

      const page = await openPage(context, siteUrl);
      await playByHls(page, siteUrl, `${httpUrl}/videos/${id}/index.m3u8`, token);
      const sdk = await SdkPage.open(context, siteUrl);
      await sdk.connect(wsUrl, { custom: { token } });
      await sdk.play('in', { name: `${id}/front` });
      await sdk.waitForEvent('in', 'PLAYING');
      const players = [
        [page, '#hls'],
        [sdk.page, '#remote video'],
      ] as const;
      for (const width of [640, 320])
        for (const [player, selector] of players) {
          await waitFor(async () => (await pictureOf(player, selector)).width === width, {
            timeoutMs: 30_000,
            what: `a picture ${width} pixels wide in ${selector}`,
          });
          const { frames } = await pictureOf(player, selector);
          if (width === 320)
            await waitFor(async () => (await pictureOf(player, selector)).frames > frames + 25, {
              timeoutMs: 20_000,
              what: `frames of the new size in ${selector}`,
            });
        }
      expect(await page.evaluate(() => document.querySelector<HTMLVideoElement>('#hls')?.error)).toBeNull();
      expect((await sdk.events()).filter(({ what }) => what === 'FAILED')).toEqual([]);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }, 120_000);

  it('goes on when ffmpeg on the robot dies and the robot starts it again', async () => {
    await untilStarted();
    const sdk = await SdkPage.open(context, siteUrl);
    await sdk.connect(wsUrl, { custom: { token } });
    await sdk.play('in', { name: `${robot.id}/${camera}` });
    await sdk.waitForEvent('in', 'PLAYING');
    await waitFor(async () => (await received(sdk.page)).framesDecoded > 10, { timeoutMs: 20_000 });
    const before = ffmpegs();
    const pushes = before.filter((pid) => ofProcess(pid, 'cmdline').includes(`/${robot.id}/${camera}?`));
    expect(pushes).toHaveLength(1);
    for (const pid of pushes) process.kill(Number(pid), 'SIGKILL');
    await waitFor(() => ffmpegs().some((pid) => !before.includes(pid)), { timeoutMs: 10_000, what: 'another ffmpeg' });
    const { framesDecoded } = await received(sdk.page);
    await waitFor(async () => (await received(sdk.page)).framesDecoded > framesDecoded + 50, {
      timeoutMs: 20_000,
      what: 'frames of the new ffmpeg',
    });
    expect((await sdk.events()).filter(({ what }) => what === 'STOPPED' || what === 'FAILED')).toEqual([]);
    expect(statesTold()).toEqual([]);
  });

  it('ends properly when ffmpeg on the robot dies for good, and starts again on request', async () => {
    const testRobot = await connectTestRobot([...TEST_PICTURE, ...TO_H264]);
    const { id } = testRobot;
    const mediaPlaylist = async () =>
      (await fetch(`${httpUrl}/videos/${id}/media.m3u8`, { headers: { authorization: `Bearer ${token}` } })).text();
    expect((await app.startStream(id, 'front', 'first')).err).toMatchObject({ ec: 0 });
    const page = await openPage(context, siteUrl);
    await playByHls(page, siteUrl, `${httpUrl}/videos/${id}/index.m3u8`, token);
    await waitFor(async () => (await pictureOf(page, '#hls')).frames > 25, { timeoutMs: 30_000, what: 'frames' });
    const sdk = await SdkPage.open(context, siteUrl);
    await sdk.connect(wsUrl, { custom: { token } });
    await sdk.play('in', { name: `${id}/front` });
    await sdk.waitForEvent('in', 'PLAYING');
    expect(await mediaPlaylist()).not.toContain('#EXT-X-ENDLIST');

    testRobot.pushOf('front')?.kill('SIGKILL');
    await waitFor(async () => (await sdk.events()).some(({ of, what }) => of === 'in' && /STOPPED|FAILED/.test(what)), {
      timeoutMs: 20_000,
      what: 'the end for the WebRTC viewer',
    });
    await waitFor(async () => (await mediaPlaylist()).includes('#EXT-X-ENDLIST'), {
      timeoutMs: 30_000,
      what: 'the end of the playlist',
    });
    // All of it is played. The test doesn't wait for `ended`, because hls.js never says so if it loaded the last part
    // before it knew that it was the last.
    await waitFor(
      async () => {
        const endS = await endOfPlaylistS(page);
        return endS !== undefined && (await pictureOf(page, '#hls')).positionS > endS - LAST_FRAMES_S;
      },
      { timeoutMs: 20_000, what: 'the end in hls.js' },
    );
    expect(testRobot.isConnected).toBe(true);

    expect((await app.startStream(id, 'front', 'second')).err).toMatchObject({ ec: 0 });
    const again = await openPage(context, siteUrl);
    await playByHls(again, siteUrl, `${httpUrl}/videos/${id}/index.m3u8`, token);
    await waitFor(async () => (await pictureOf(again, '#hls')).frames > 25, { timeoutMs: 30_000, what: 'new frames' });
    testRobot.close();
    await untilGone(ffmpegs().filter((pid) => ofProcess(pid, 'cmdline').includes(`/${id}/`)));
  }, 120_000);

  it('reports what the robot does wrong', async () => {
    const [silent, failing, inOtherWords, withoutPicture] = await wrongRobots;
    expect(silent).toMatchObject({ ec: 106, dm: 'timeout', em: 'The robot did not answer in time.' });
    expect(failing).toMatchObject({ ec: 106, dm: 'ffmpeg_failed' });
    expect(inOtherWords).toMatchObject({ ec: 106, dm: 'camera_broken', em: expect.stringContaining('lens') });
    expect(withoutPicture).toMatchObject({ ec: 106, dm: 'timeout', em: 'No picture came from the camera in time.' });
  });

  it('comes back after the robot and with it its ffmpeg were killed', async () => {
    await untilStarted();
    await waitFor(() => ffmpegs().length > 0);
    const before = ffmpegs();
    await killAndAwaitRestart(robot.id);
    await untilGone(before);
    await waitFor(() => statesTold().includes('online'), { timeoutMs: 10_000 });
    await untilStarted();
    await untilPackaged();
  });

  it('is packaged again after the packager was killed', async () => {
    await untilStarted();
    await untilPackaged();
    await killAndAwaitRestart('hls-packager');
    await untilPackaged();
  });

  it('starts again after the media node was killed, and no earlier ffmpeg is left', async () => {
    await untilStarted();
    // The demo's sound is AAC, which is transcoded for WebRTC players.
    const sdk = await SdkPage.open(context, siteUrl);
    await sdk.connect(wsUrl, { custom: { token } });
    await sdk.play('in', { name: `${robot.id}/${camera}` });
    await sdk.waitForEvent('in', 'PLAYING');
    await waitFor(() => ffmpegs().length > 1, { what: "the transcoder's ffmpeg" });
    const before = ffmpegs();
    await killAndAwaitRestart('media');
    await untilGone(before);
    await untilHealthy();
    await untilStarted();
    await untilPackaged();
  });

  it('starts again after the robot channel was killed', async () => {
    await untilStarted();
    await killAndAwaitRestart('robot-channel');
    await untilHealthy();
    app.socket.terminate();
    await waitFor(
      async () => {
        await openApp();
        return true;
      },
      { timeoutMs: 10_000, intervalMs: 250 },
    );
    await untilStarted();
  });
});
