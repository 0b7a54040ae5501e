import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { waitFor } from '@weir/testing';
import { afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { RobotApp } from '../robot-app.js';

const { httpUrl, controlUrl, username, password, operatorKey, rtspPort, robots } = inject('platform');
const [robot] = robots;
if (robot === undefined) throw new Error('the demo has no robots');
const camera = robot.cameras[0] ?? '';
const playlistUrl = `${httpUrl}/videos/${robot.id}/index.m3u8`;

let token: string;
let app: RobotApp;

beforeAll(async () => {
  await untilHealthy();
  const response = await fetch(`${httpUrl}/auth/`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username, password }),
  });
  token = ((await response.json()) as { ret: { token: string } }).ret.token;
});
beforeEach(async () => {
  await untilHealthy();
  await openApp();
});
afterEach(() => app.socket.terminate());

const untilHealthy = () =>
  waitFor(async () => (await fetch(`${httpUrl}/healthz`)).status === 200, {
    timeoutMs: 30_000,
    what: 'a healthy platform',
  });

async function openApp(): Promise<void> {
  app = await RobotApp.open(`${httpUrl.replace('http:', 'ws:')}/channel/app?token=${token}`);
}

const pids = async () => (await (await fetch(`${controlUrl}/pids`)).json()) as Record<string, number>;

async function killAndAwaitRestart(name: string): Promise<void> {
  const before = (await pids())[name];
  await fetch(`${controlUrl}/kill/${name}`, { method: 'POST' });
  await waitFor(
    async () => {
      const now = (await pids())[name];
      return now !== undefined && now !== before;
    },
    { timeoutMs: 20_000, what: `the restart of ${name}` },
  );
}

/** Asks for the stream until it is there, as an app does that tries again. */
const untilStarted = () =>
  waitFor(async () => (await app.startStream(robot.id, camera, randomUUID())).err.ec === 0, {
    timeoutMs: 20_000,
    intervalMs: 500,
    what: 'the stream of the robot',
  });

const playlist = () => fetch(playlistUrl, { headers: { authorization: `Bearer ${token}` } });
const untilPackaged = () =>
  waitFor(async () => (await playlist()).status === 200, { timeoutMs: 20_000, intervalMs: 250, what: 'the playlist' });

/** ffmpeg processes that speak with this platform's RTSP port. */
const ffmpegs = () =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const command = readFileSync(`/proc/${name}/cmdline`, 'utf8');
        return command.startsWith('ffmpeg') && command.includes(`:${rtspPort}/`);
      } catch {
        return false; // it has just ended
      }
    });

describe("a robot's stream when something breaks", () => {
  it('says so at once when the robot is not there', async () => {
    const id = `absent_${randomUUID().slice(0, 8)}`;
    const made = await fetch(`${httpUrl}/channel/robots`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${operatorKey}` },
      body: JSON.stringify({ id, cameras: [{ name: 'front' }] }),
    });
    expect(made.ok).toBe(true);
    expect((await app.startStream(id, 'front')).err).toMatchObject({ ec: 400, dm: 'robot_offline' });
  });

  it('comes back after the robot was killed, whose ffmpeg ends with it', async () => {
    await untilStarted();
    await waitFor(() => ffmpegs().length > 0);
    const before = ffmpegs();
    await killAndAwaitRestart(robot.id);
    await waitFor(() => ffmpegs().every((pid) => !before.includes(pid)), { timeoutMs: 10_000 });
    await waitFor(() => app.received.some(({ act }) => act === 'robot.state'), { timeoutMs: 10_000 });
    await untilStarted();
    await untilPackaged();
  });

  it('is packaged again after the packager was killed', async () => {
    await untilStarted();
    await untilPackaged();
    await killAndAwaitRestart('hls-packager');
    await untilPackaged();
  });

  it('starts again after the media node was killed, and no ffmpeg of before is left', async () => {
    await untilStarted();
    const before = ffmpegs();
    await killAndAwaitRestart('media');
    await untilHealthy();
    await untilStarted();
    await untilPackaged();
    await waitFor(() => ffmpegs().every((pid) => !before.includes(pid)), { timeoutMs: 10_000 });
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
