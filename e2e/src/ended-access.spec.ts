import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor } from '@weir/testing';
import type { Browser, BrowserContext } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { z } from 'zod';
import { startBrowser } from './browser.js';
import { BLUE, CallApp, expectToHear, RED } from './call-app.js';
import { heard } from './call-page.js';
import { RecordingApp } from './recording-app.js';
import { joinSession, told } from './recording-page.js';
import { RobotApp } from './robot-app.js';
import { SdkPage } from './sdk-page.js';
import { WcsSocket } from './wcs-socket.js';

const { httpUrl, siteUrl, operatorKey, rtspPort, robots } = inject('platform');
const wsUrl = httpUrl.replace('http:', 'ws:');

/** How long it may take until everything that a credential opened has ended, with expiry, events and checks. */
const ENDS_WITHIN_MS = 15_000;
const callDevice = z.object({ cid: z.number(), token: z.string() });
const callTokens = z.object({ tokens: z.tuple([callDevice, callDevice]) });
/** Long enough to open everything with the token on a slow machine. */
const SHORT_LIFE_S = 25;

let browser: Browser;
let context: BrowserContext;
const children: ChildProcess[] = [];
/** A stream of the operator that goes on during all tests. */
const steady = `steady-${randomUUID().slice(0, 8)}`;
const appKey = `ended-${randomUUID().slice(0, 8)}`;

async function operator(method: string, path: string, body?: unknown): Promise<Record<string, string>> {
  const response = await fetch(httpUrl + path, {
    method,
    headers: { authorization: `Bearer ${operatorKey}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  expect(response.ok, `${method} ${path} answers ${response.status}`).toBe(true);
  return (await response.json().catch(() => ({}))) as Record<string, string>;
}

const rtspUrl = (credential: string, name: string) => `rtsp://user:${credential}@127.0.0.1:${rtspPort}/demo/${name}`;

function ffmpeg(...args: string[]): ChildProcess {
  const child = spawn('ffmpeg', ['-nostdin', '-loglevel', 'error', ...args], { stdio: 'ignore' });
  children.push(child);
  return child;
}

const push = (credential: string, name: string): ChildProcess =>
  ffmpeg(
    ...['-re', '-f', 'lavfi', '-i', 'testsrc=size=160x120:rate=15', '-c:v', 'libx264', '-preset', 'ultrafast'],
    ...['-tune', 'zerolatency', '-g', '15', '-f', 'rtsp', '-rtsp_transport', 'tcp', rtspUrl(credential, name)],
  );

const published = async (name: string): Promise<boolean> =>
  JSON.stringify(await operator('POST', '/rest-api/stream/find_all', {})).includes(`"${name}"`);

const grants = [
  { verb: 'publish', object: '*' },
  { verb: 'play', object: '*' },
  { verb: 'command', object: '*' },
];

interface Credential {
  /** The key, or the token's pass, which fits into a URL. */
  short: string;
  end(): Promise<void>;
}

const token = async (ttlS: number): Promise<{ pass: string; tokenId: string }> => {
  const { pass = '', tokenId = '' } = await operator('POST', '/auth/tokens', { subject: 'ended', grants, ttlS });
  return { pass, tokenId };
};

const CREDENTIALS: Record<string, () => Promise<Credential>> = {
  'a token that is revoked': async () => {
    const { pass, tokenId } = await token(600);
    return { short: pass, end: async () => void (await operator('POST', '/auth/revoke', { tokenId })) };
  },
  'a token that expires': async () => {
    const { pass } = await token(SHORT_LIFE_S);
    const expiresMs = performance.now() + SHORT_LIFE_S * 1_000;
    return {
      short: pass,
      end: () => new Promise((resolve) => setTimeout(resolve, Math.max(0, expiresMs - performance.now()))),
    };
  },
  'a key that is removed': async () => {
    const { key = '', keyId = '' } = await operator('POST', '/auth/keys', { label: 'ended', grants });
    return { short: key, end: async () => void (await operator('DELETE', `/auth/keys/${keyId}`)) };
  },
};

beforeAll(async () => {
  browser = await startBrowser();
  await operator('POST', '/auth/applications', { appKey, policy: 'token' });
  push(operatorKey, steady);
  await waitFor(() => published(steady), { timeoutMs: 30_000, what: 'the steady stream' });
});
beforeEach(async () => {
  context = await browser.newContext();
});
afterEach(() => context.close());
afterAll(async () => {
  for (const child of children) if (child.exitCode === null) child.kill('SIGKILL');
  await browser.close();
});

describe('what was opened with a credential ends with it', () => {
  for (const [what, make] of Object.entries(CREDENTIALS))
    it(`${what}: WCS, RTSP, HLS and the app's channel`, { timeout: 150_000 }, async () => {
      const credential = await make();
      const [byWcs, byRtsp] = [`wcs-${randomUUID().slice(0, 8)}`, `rtsp-${randomUUID().slice(0, 8)}`];

      const pusher = push(credential.short, byRtsp);
      const player = ffmpeg('-rtsp_transport', 'tcp', '-i', rtspUrl(credential.short, steady), '-f', 'null', '-');
      const app = await RobotApp.open(`${wsUrl}/channel/app?token=${credential.short}`);
      const appClosed = once(app.socket, 'close');
      const playlist = `${httpUrl}/videos/~/${steady}/media.m3u8`;
      const watch = async () =>
        (await fetch(playlist, { headers: { authorization: `Bearer ${credential.short}` } })).status;
      const page = await SdkPage.open(context, siteUrl);
      await page.connect(wsUrl, { appKey, custom: { token: credential.short } });
      await page.publish('out', { name: byWcs });
      await page.waitForEvent('out', 'PUBLISHING');
      await page.play('in', { name: byWcs });
      await page.waitForEvent('in', 'PLAYING');
      await waitFor(() => published(byRtsp), { timeoutMs: 20_000, what: 'the pushed stream' });
      expect(await watch()).toBe(200);
      expect([pusher.exitCode, player.exitCode]).toEqual([null, null]);

      await credential.end();
      const within = { timeoutMs: ENDS_WITHIN_MS };
      await page.waitForEvent('session', 'DISCONNECTED', ENDS_WITHIN_MS);
      await waitFor(() => pusher.exitCode !== null, { ...within, what: 'the end of the RTSP push' });
      await waitFor(() => player.exitCode !== null, { ...within, what: 'the end of the RTSP play' });
      await waitFor(async () => (await watch()) === 401, { ...within, what: 'the end of HLS' });
      expect((await appClosed)[0]).toBe(4401);
      await waitFor(async () => !(await published(byWcs)) && !(await published(byRtsp)), {
        ...within,
        what: 'the end of the published streams',
      });
      expect(await published(steady)).toBe(true);
    });

  it('a removed application: its WCS sessions and their streams', async () => {
    const removed = `removed-${randomUUID().slice(0, 8)}`;
    const name = `wcs-${randomUUID().slice(0, 8)}`;
    await operator('POST', '/auth/applications', { appKey: removed, policy: 'open' });
    const socket = await WcsSocket.connect(wsUrl, { appKey: removed });
    const page = await SdkPage.open(context, siteUrl);
    await page.connect(wsUrl, { appKey: removed });
    await page.publish('out', { name });
    await page.waitForEvent('out', 'PUBLISHING');
    await operator('DELETE', `/auth/applications/${removed}`);
    expect(await socket.waitForClose()).toBe(4404);
    await page.waitForEvent('session', 'DISCONNECTED', ENDS_WITHIN_MS);
    await waitFor(async () => !(await published(name)), { timeoutMs: ENDS_WITHIN_MS, what: 'the end of the stream' });
  });
});

describe("a client's recorded session", () => {
  const begin = async (masterKey: string, options = {}) => {
    const session = await new RecordingApp({ httpUrl, masterKey }).session(`c-${randomUUID()}`, options);
    const page = await joinSession(context, siteUrl, { ...session, webhookUrl: '' });
    const name = `recordings/${session.id}`;
    await waitFor(() => published(name), { timeoutMs: 20_000, what: "the session's stream" });
    return async () => {
      await told(page, 'session_terminated', ({ data }) => data['termination_cause'] === 'TOKEN_EXPIRED');
      await waitFor(async () => !(await published(name)), { timeoutMs: ENDS_WITHIN_MS, what: 'the end of its stream' });
    };
  };

  it('ends when its token expires, and when the master key is removed', async () => {
    const { key = '', keyId = '' } = await operator('POST', '/auth/keys', { label: 'ended', apiId: `e${Date.now()}` });
    const expectExpired = await begin(key, { token_ttl_s: SHORT_LIFE_S });
    const expectRemoved = await begin(key);
    await expectExpired();
    await operator('DELETE', `/auth/keys/${keyId}`);
    await expectRemoved();
  }, 150_000);
});

describe('a call', () => {
  const [firstCid, secondCid] = [4_100_000_000, 4_100_000_001];

  it("goes on when its devices' tokens expire, and ends when their app is removed", async () => {
    const { id = '', key = '' } = await operator('POST', '/calls/apps', {
      ranges: [{ begin: firstCid, end: secondCid }],
    });
    const app = new CallApp({ httpUrl, siteUrl, calls: { appId: id, appKey: key, devices: [] } });
    const asked = { cids: [firstCid, secondCid], duration: SHORT_LIFE_S };
    const expiresMs = performance.now() + SHORT_LIFE_S * 1_000;
    const { tokens } = callTokens.parse(await app.ask('/v2/devices/tokens', asked));
    const [caller, callee] = tokens;
    const pages = [await app.openPage(context, caller, RED), await app.openPage(context, callee, BLUE)] as const;
    expect(await app.call(caller, { cid: callee.cid, page: pages[1] })).toBeUndefined();
    await expectToHear(pages[0], BLUE);
    await sleep(Math.max(0, expiresMs + 2_000 - performance.now()));
    for (const page of pages) expect(await heard(page)).toMatchObject({ state: 'established' });
    await operator('DELETE', `/calls/apps/${id}`);
    const within = { timeoutMs: ENDS_WITHIN_MS, what: 'the end of the call' };
    await Promise.all(pages.map((page) => waitFor(async () => (await heard(page)).state === 'ended', within)));
  }, 150_000);
});

describe("a robot's name", () => {
  const [robot] = robots;
  const name = `${robot?.id}/${robot?.cameras[0]}`;

  it('is refused to others, whether the robot publishes or not, and stays free for the robot', async () => {
    const page = await SdkPage.open(context, siteUrl);
    await page.connect(wsUrl);
    await page.publish('out', { name });
    await page.waitForEvent('out', 'FAILED');
    const pusher = push((await token(600)).pass, name);
    await waitFor(() => pusher.exitCode !== null, { timeoutMs: 20_000, what: 'the end of a push to the name' });
    const app = await RobotApp.open(`${wsUrl}/channel/app?token=${operatorKey}`);
    const { err } = await app.startStream(robot?.id ?? '', robot?.cameras[0] ?? '');
    expect(err.ec).toBe(0);
    await waitFor(() => published(name), { timeoutMs: 20_000, what: "the robot's stream" });

    // An anonymous player gets the same answer as for a name that nobody uses.
    const hears = async (stream: string) => {
      const visitor = await SdkPage.open(context, siteUrl);
      await visitor.connect(wsUrl);
      await visitor.play('in', { name: stream });
      const { info } = await visitor.waitForEvent('in', 'FAILED');
      return [info, await visitor.available(stream)];
    };
    expect(await hears(name)).toEqual(await hears(`${robot?.id}/no-such-camera`));
    app.socket.close();
  });
});
