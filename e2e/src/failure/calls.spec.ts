import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { join, resolve } from 'node:path';
import { pipeline } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
// eslint-disable-next-line @nx/enforce-module-boundaries -- the services themselves say what they still have of a call
import { Bus } from '@weir/bus';
// eslint-disable-next-line @nx/enforce-module-boundaries -- the services themselves say what they still have of a call
import { Calls, Media } from '@weir/contracts';
import { freePorts } from '@weir/single-machine';
import { waitFor } from '@weir/testing';
import { Redis } from 'ioredis';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { z } from 'zod';
import { startBrowser } from '../browser.js';
import { cutNetwork } from '../browser-network.js';
import { BLUE, CallApp, ended, expectToHear, RED } from '../call-app.js';
import { closeCall, heard, openCall, openDevicePage } from '../call-page.js';
import { kill, killAndAwaitRestart, untilHealthy } from './kills.js';

const { httpUrl, siteUrl, redisUrl, natsUrl, databaseUrl, dataDir, operatorKey, calls } = inject('platform');
const checkout = resolve(import.meta.dirname, '../../..');
const app = new CallApp({ httpUrl, siteUrl, calls });
const [A, B] = [app.device(0), app.device(1)];

/** What the platform's user is promised. */
const MEDIA_LOST_WITHIN_MS = 3_000;
/** On a busy machine a service needs a while to start. Media go on without an instance that runs the call. */
const RESTARTED_WITHIN_MS = 40_000;
const SHORT_CUT_MS = 5_000;
const LONG_CUT_MS = 60_000;

let browser: Browser;
/** The device whose network is cut has a browser of its own. */
let phone: Browser;
let contexts: BrowserContext[];
let redis: Redis;
let bus: Bus;

beforeAll(async () => {
  [browser, phone] = await Promise.all([startBrowser(), startBrowser()]);
  redis = new Redis(redisUrl);
  redis.on('error', () => undefined); // it is killed too
  bus = await Bus.connect({ url: natsUrl, service: 'spec', instanceId: `spec-${process.pid}` });
});
beforeEach(async () => {
  contexts = [];
  await untilHealthy();
});
afterEach(async () => {
  await Promise.all(contexts.map((context) => context.close()));
});
afterAll(async () => {
  redis.disconnect();
  await bus.drain();
  await Promise.all([browser.close(), phone.close()]);
});

async function contextIn(one: Browser): Promise<BrowserContext> {
  const context = await one.newContext();
  contexts.push(context);
  return context;
}

interface Talk {
  readonly a: Page;
  readonly b: Page;
  readonly callId: string;
  /** The instance of call-broker that runs the call at first. */
  readonly owner: string;
  readonly sessions: readonly { readonly nodeId: string; readonly sessionId: string }[];
}

const session = z.object({ nodeId: z.string(), sessionId: z.string() });
const stored = z.object({ media: z.object({ caller: session, callee: session }) });

/** The call in Redis: the instance that runs it, and what another one needs to go on with it. */
async function leaseOf(callId: string): Promise<{ owner: string; sessions: Talk['sessions'] } | undefined> {
  const text = await redis.get(`call-broker:call:${callId}`);
  const [, owner = '', json = ''] = /^\d+ (\S+) (.*)$/s.exec(text ?? '') ?? [];
  if (json === '') return undefined;
  return { owner, sessions: Object.values(stored.parse(JSON.parse(json)).media) };
}

async function begin(a: Page, b: Page): Promise<Talk> {
  expect(await app.call(A, { cid: B.cid, page: b })).toBeUndefined();
  return talkOf(a, b);
}

/** The call that the callee has just opened. */
async function talkOf(a: Page, b: Page): Promise<Talk> {
  await Promise.all([expectToHear(a, BLUE), expectToHear(b, RED)]);
  const { callId } = await heard(b);
  const lease = await waitFor(() => leaseOf(callId));
  return { a, b, callId, ...lease };
}

/** @param at where the callee's page is */
async function talking(at = browser): Promise<Talk> {
  const [a, b] = await Promise.all([
    app.openPage(await contextIn(browser), A, RED),
    app.openPage(await contextIn(at), B, BLUE),
  ]);
  return begin(a, b);
}

/** Media still flow both ways in the same call. */
async function expectToGoOn({ a, b, callId }: Talk): Promise<void> {
  for (const page of [a, b]) {
    const before = (await heard(page)).framesDecoded;
    await waitFor(async () => (await heard(page)).framesDecoded > before + 25, {
      timeoutMs: 20_000,
      what: 'more frames',
    });
    await waitFor(async () => (await heard(page)).state === 'established', { what: 'a call that is well' });
    expect((await heard(page)).callId).toBe(callId);
  }
}

async function expectToEnd(talk: Talk, by: 'caller' | 'callee' = 'caller'): Promise<void> {
  const [closing, other] = by === 'caller' ? [talk.a, talk.b] : [talk.b, talk.a];
  await closeCall(closing);
  await ended(other, 'closed');
  await expectNothingLeft(talk);
  await expectRecord(talk, 'closed');
}

/** Nothing of the call is in Redis, no instance takes requests for it, and the media core has none of its sessions. */
async function expectNothingLeft({ callId, owner, sessions }: Talk): Promise<void> {
  await waitFor(
    async () => {
      // The last epoch of a name stays for a day, so that no earlier owner can come back to it.
      const keys = (await redis.keys('*')).filter((key) => !key.includes('-epoch:'));
      return keys.every((key) => !key.includes(callId) && !/^call-broker:(?:call|place|ring)/.test(key));
    },
    { timeoutMs: 20_000, what: 'a Redis without the call' },
  );
  for (const { nodeId, sessionId } of sessions)
    await waitFor(
      async () => {
        const stats = await bus
          .call(Media.method.getSessionStats, { nodeId, sessionIds: [sessionId] })
          .catch(() => ({ stats: [] })); // the node was killed
        return stats.stats.length === 0;
      },
      { what: 'a media core without the call' },
    );
  const answer = await bus
    .call(Calls.method.give, { instanceId: owner, callId, cid: A.cid, frame: '' })
    .catch(() => ({ taken: false })); // the instance was killed
  expect(answer.taken).toBe(false);
}

const records = z.object({ calls: z.array(z.object({ id: z.string(), cause: z.string() })) });

async function expectRecord({ callId }: Talk, cause: string): Promise<void> {
  const found = await waitFor(
    async () => {
      const response = await fetch(`${httpUrl}/calls/records?cid=${A.cid}`, {
        headers: { authorization: `Bearer ${operatorKey}` },
      });
      return records.parse(await response.json()).calls.find(({ id }) => id === callId);
    },
    { timeoutMs: 20_000, what: 'the record of the call' },
  );
  expect(found.cause).toBe(cause);
}

const takenOver = ({ callId, owner }: Talk, timeoutMs: number): Promise<unknown> =>
  waitFor(
    async () => {
      const lease = await leaseOf(callId);
      return lease !== undefined && lease.owner !== owner;
    },
    { timeoutMs, what: 'another instance that runs the call' },
  );

describe('a call', () => {
  it.each(['caller', 'callee'] as const)(
    'goes on after kill -9 of call-broker, and the %s can end it',
    async (side) => {
      const talk = await talking();
      await kill('call-broker');
      await takenOver(talk, RESTARTED_WITHIN_MS);
      await expectToGoOn(talk);
      await waitFor(async () => (await app.stateOf(A.cid)).state === 4);
      await expectToEnd(talk, side);
    },
  );

  it('is ended for both within three seconds after kill -9 of media, and the next one works at once', async () => {
    const talk = await talking();
    await kill('media');
    await Promise.all(
      [talk.a, talk.b].map((page) =>
        waitFor(async () => (await heard(page)).cause === 'media-lost', {
          timeoutMs: MEDIA_LOST_WITHIN_MS,
          what: 'the news that the media are lost',
        }),
      ),
    );
    await expectNothingLeft(talk);
    await expectRecord(talk, 'media-lost');
    await untilHealthy();
    await expectToEnd(await begin(talk.a, talk.b));
  });

  it.each(['postgres', 'redis', 'nats'])('goes on after kill -9 of %s, and can be ended', async (name) => {
    const talk = await talking();
    await killAndAwaitRestart(name);
    await untilHealthy();
    await expectToGoOn(talk);
    await expectToEnd(talk);
  });
});

describe("a call while a device's network is cut", () => {
  it('for five seconds goes on', async () => {
    const talk = await talking(phone);
    const restore = await cutNetwork(phone);
    await sleep(SHORT_CUT_MS).finally(restore);
    await expectToGoOn(talk);
    await expectToEnd(talk, 'callee');
  });

  it('for a minute ends, the other device is told why, and both can call again', async () => {
    const talk = await talking(phone);
    const restore = await cutNetwork(phone);
    const over = sleep(LONG_CUT_MS);
    try {
      await waitFor(async () => (await heard(talk.a)).cause !== '', { timeoutMs: 40_000, what: 'the end' });
      expect((await heard(talk.a)).cause).toBe('silence');
      await expectNothingLeft(talk);
      await expectRecord(talk, 'silence');
      await over;
    } finally {
      restore();
    }
    await ended(talk.b, 'channel-lost');
    await talk.b.evaluate("window.dispatchEvent(new Event('online'))"); // as when a browser has its network again
    await waitFor(() => talk.b.evaluate('window.device.isOnline()'), { timeoutMs: 20_000, what: 'the device' });
    await expectToEnd(await begin(talk.a, talk.b));
  }, 150_000);
});

describe('a call between devices on two instances of call-broker', () => {
  /** The platform's second instance, as another machine would run it. */
  async function startCallBroker(): Promise<{ port: number; kill(): Promise<void> }> {
    const [port = 0] = await freePorts(1);
    const program = join(checkout, 'services/call-broker/dist/main.js');
    const child = spawn(process.execPath, ['--import', '@weir/platform/register', program], {
      cwd: checkout,
      stdio: 'ignore',
      env: {
        ...process.env,
        ...{ NATS_URL: natsUrl, REDIS_URL: redisUrl, DATABASE_URL: databaseUrl, WEIR_DATA_DIR: dataDir },
        ...{ WEIR_SINGLE_MACHINE: '1', WEIR_CREDENTIALS_FILE: join(dataDir, 'credentials.json') },
        ...{ WEIR_LISTEN_HOST: '127.0.0.1', WEIR_LISTEN_PORT: String(port) },
      },
    });
    const exited = once(child, 'exit');
    const url = `http://127.0.0.1:${port}`;
    await waitFor(async () => (await fetch(`${url}/healthz`)).status === 200, { timeoutMs: 60_000, what: url });
    return {
      port,
      kill: async () => {
        child.kill('SIGKILL');
        await exited;
      },
    };
  }

  /** Leads each connection to the first of these ports that takes it, as a load balancer does. */
  async function balance(ports: readonly number[]): Promise<{ url: string; close(): void }> {
    const open = new Set<Socket>();
    const lead = (client: Socket, [port, ...others]: readonly number[]): void => {
      if (port === undefined) {
        client.destroy();
        return;
      }
      const instance = connect({ port, host: '127.0.0.1' });
      instance.once('error', () => lead(client, others));
      instance.once('connect', () => {
        instance.removeAllListeners('error');
        pipeline(client, instance, client, () => undefined); // either end may break
      });
    };
    const server = createServer((client) => {
      open.add(client.once('close', () => open.delete(client)));
      lead(client, ports);
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    return {
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      close: () => {
        for (const client of open) client.destroy();
        server.close();
      },
    };
  }

  it('is ended by either; and it goes on at the other instance when its own one is killed', async () => {
    const second = await startCallBroker();
    const balancer = await balance([second.port, Number(new URL(httpUrl).port)]);
    try {
      const a = await app.openPage(await contextIn(browser), A, RED);
      const { token } = B;
      const options = { pageUrl: siteUrl, serverUrl: balancer.url, token, ...BLUE };
      const b = await openDevicePage(await contextIn(browser), options);
      // The instance that takes the push runs the call: the platform's own one.
      await expectToEnd(await begin(a, b), 'caller');
      await expectToEnd(await begin(a, b), 'callee');
      // Without a push, it is the one that has the device that opens the URL.
      expect(await openCall(b, await app.urlOf(A))).toBeUndefined();
      const talk = await talkOf(a, b);
      await second.kill();
      await takenOver(talk, 5_000);
      await expectToGoOn(talk);
      await expectToEnd(talk, 'callee');
    } finally {
      await second.kill();
      balancer.close();
    }
  }, 150_000);
});
