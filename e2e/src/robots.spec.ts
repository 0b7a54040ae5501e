import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { waitFor } from '@weir/testing';
import { WebSocket } from 'ws';
import type { Browser, BrowserContext } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { openPage, received, startBrowser } from './browser.js';
import { pictureOf, playByHls } from './hls-player.js';
import { RobotApp } from './robot-app.js';
import { SdkPage } from './sdk-page.js';

const { httpUrl, siteUrl, username, password, robots } = inject('platform');
const wsUrl = httpUrl.replace('http:', 'ws:');
const run = promisify(execFile);
const robot = robots[0];
if (robot === undefined) throw new Error('the demo has no robots');

let token: string;
let browser: Browser;
let context: BrowserContext;
const apps: RobotApp[] = [];

beforeAll(async () => {
  const response = await fetch(`${httpUrl}/auth/`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username, password }),
  });
  token = ((await response.json()) as { ret: { token: string } }).ret.token;
  browser = await startBrowser();
});
beforeEach(async () => {
  context = await browser.newContext();
});
afterEach(async () => {
  for (const app of apps.splice(0)) app.socket.terminate();
  await context.close();
});
afterAll(() => browser.close());

async function open(query = `?tonken=${token}`, headers: Record<string, string> = {}): Promise<RobotApp> {
  const app = await RobotApp.open(`${wsUrl}/channel/app${query}`, headers);
  apps.push(app);
  return app;
}

const playlistOf = async (url: string) => {
  const response = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
  return { status: response.status, text: await response.text() };
};

describe("a robot's live video, with the calls of the original document", () => {
  it('starts with robot.start_stream, and the reply has the documented shape', async () => {
    const app = await open();
    const reply = await app.ask({
      id: 'abc',
      act: 'robot.start_stream',
      arg: { robot_id: robot.id, camera: robot.cameras[0] },
    });
    expect(reply).toMatchObject({
      id: 'abc',
      act: 'robot.start_stream!',
      err: { ec: 0, em: 'This operation is successful.', dm: 'ok' },
      ret: { uri: expect.stringMatching(/^rtsp:\/\//), hls_uri: expect.stringMatching(/^http.*index\.m3u8/) },
    });
  });

  it.each([
    ['?token=', {}],
    ['?tonken=', {}],
    ['', { authorization: 'Bearer ' }],
  ])('accepts the token as %s %j', async (query, headers: Record<string, string>) => {
    const app = await open(
      query === '' ? '' : `${query}${token}`,
      Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, value + token])),
    );
    const reply = await app.ask({ id: 'l', act: 'robot.list', arg: {} });
    expect(reply.err.ec).toBe(0);
  });

  it('plays in the browser over HLS, over WebRTC under its stream name, and in an RTSP player', async () => {
    const app = await open();
    const { ret } = await app.startStream(robot.id, robot.cameras[0] ?? '');
    const hls = await fetch(`${httpUrl}/stream/`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      body: JSON.stringify({ id: robot.id, rtsp_url: ret?.uri }),
    });
    expect(hls.status).toBe(200);
    const answer = (await hls.json()) as { err: { ec: number; em: string }; ret: { hls_url: string } };
    expect(answer).toMatchObject({ err: { ec: 0, em: 'ok' }, ext: null, ebd: null });
    expect(answer.ret.hls_url).toMatch(new RegExp(`/videos/${robot.id}/index\\.m3u8`));

    await waitFor(async () => (await playlistOf(`${httpUrl}/videos/${robot.id}/index.m3u8`)).status === 200, {
      timeoutMs: 15_000,
      what: 'the playlist',
    });
    const page = await openPage(context, siteUrl);
    await playByHls(page, siteUrl, `${httpUrl}/videos/${robot.id}/index.m3u8`, token);
    await waitFor(async () => (await pictureOf(page, '#hls')).frames > 30, {
      timeoutMs: 20_000,
      what: 'frames over HLS',
    });

    const sdk = await SdkPage.open(context, siteUrl);
    await sdk.connect(wsUrl, { custom: { token } });
    await sdk.play('in', { name: `${robot.id}/${robot.cameras[0]}` });
    await sdk.waitForEvent('in', 'PLAYING');
    await waitFor(async () => (await received(sdk.page)).framesDecoded > 20, { timeoutMs: 20_000 });

    const { stdout } = await run('ffprobe', [
      ...['-hide_banner', '-loglevel', 'error', '-rtsp_transport', 'tcp', '-read_intervals', '%+2', '-count_frames'],
      ...[
        '-select_streams',
        'v',
        '-show_entries',
        'stream=codec_name,nb_read_frames',
        '-of',
        'csv=p=0',
        ret?.uri ?? '',
      ],
    ]);
    const [codec, frames] = stdout.trim().split(',');
    expect(codec).toBe('h264');
    expect(Number(frames)).toBeGreaterThan(20);
  });

  it('is started once for two apps that ask at the same time', async () => {
    const [first, second] = await Promise.all([open(), open()]);
    const [one, two] = await Promise.all([
      first.startStream(robot.id, robot.cameras[0] ?? ''),
      second.startStream(robot.id, robot.cameras[0] ?? ''),
    ]);
    expect(one.err.ec).toBe(0);
    expect(two.err.ec).toBe(0);
    expect(one.ret?.hls_uri).toBe(two.ret?.hls_uri);
  });

  it.each([
    ['an unknown robot', { robot_id: 'no_such_robot', camera: 'front' }, { ec: 107, dm: 'permission' }],
    ['an unknown camera', { robot_id: robot.id, camera: 'no_such_camera' }, { ec: 103, dm: 'invalid_arg' }],
    ['a missing camera', { robot_id: robot.id }, { ec: 103, dm: 'invalid_arg' }],
    ['a missing robot', { camera: 'front' }, { ec: 103, dm: 'invalid_arg' }],
  ])('answers %s with an error', async (_name, arg, err) => {
    const app = await open();
    const reply = await app.ask({ id: 1, act: 'robot.start_stream', arg });
    expect(reply).toMatchObject({ id: 1, act: 'robot.start_stream!', err, ret: null });
  });

  it('refuses clients without a token', async () => {
    const socket = new WebSocket(`${wsUrl}/channel/app`);
    const [error] = (await once(socket, 'error')) as [Error];
    expect(error.message).toContain('401');
    expect((await playlistOf(`${httpUrl}/videos/${robot.id}/index.m3u8`)).status).toBe(200);
    expect((await fetch(`${httpUrl}/videos/${robot.id}/index.m3u8`)).status).toBe(401);
  });
});
