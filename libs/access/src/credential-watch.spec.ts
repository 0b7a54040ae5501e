import { Bus, type Registration } from '@weir/bus';
import { Auth, AuthEvents, ErrorCode, isWeirError } from '@weir/contracts';
import { startNats, startRedis, waitFor, type TestServer } from '@weir/testing';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { credentialNameOf, credentialRefIn, type CredentialRef } from './credential-ref.js';
import { CredentialWatch } from './credential-watch.js';
import { revocationKey } from './revocations.js';

let nats: TestServer;
let redisServer: TestServer;
let auth: Bus;
let bus: Bus;
let redis: Redis;
let watch: CredentialWatch;
let serving: Registration | undefined;
/** The names of the credentials that auth says have ended. */
let endedForAuth: Set<string>;
let questions: number;
let nowMs: number;

const token = (tokenId: string, expiresAtMs = nowMs + 600_000): CredentialRef => ({
  kind: 'token',
  tokenId,
  expiresAtMs,
});
const key = (keyId: string): CredentialRef => ({ kind: 'key', keyId });
const application: CredentialRef = { kind: 'application', appKey: 'doors', tenant: 'acme' };

/** Watches the credentials and counts how often the watch reports an end. */
const standing = (...refs: CredentialRef[]) => {
  const seen = { ended: 0 };
  const stop = watch.watch(refs, () => (seen.ended += 1));
  return { seen, stop };
};

beforeAll(async () => {
  [nats, redisServer] = await Promise.all([startNats(), startRedis()]);
  auth = await Bus.connect({ url: nats.url, service: 'auth', instanceId: 'auth-1' });
  bus = await Bus.connect({ url: nats.url, service: 'client', instanceId: 'client-1' });
  redis = new Redis(redisServer.url, { maxRetriesPerRequest: 1, retryStrategy: () => 50 });
  redis.on('error', () => undefined); // emitted by each test that kills the server
}, 60_000);

afterAll(async () => {
  redis.disconnect();
  await Promise.all([auth.drain(), bus.drain()]);
  await Promise.all([nats.stop(), redisServer.stop()]);
});

beforeEach(async () => {
  endedForAuth = new Set();
  questions = 0;
  nowMs = 1_900_000_000_000;
  serving = auth.serve(Auth.method.findEnded, ({ credentials }) => {
    questions += 1;
    const names = credentials.map((message) => credentialNameOf(credentialRefIn(message) ?? key('')));
    return { ended: names.flatMap((name, index) => (endedForAuth.has(name) ? [index] : [])) };
  });
  watch = new CredentialWatch({ bus, redis, log: { warn: () => undefined }, intervalMs: 100, nowMs: () => nowMs });
  await Promise.all([auth.flush(), bus.flush()]); // so that NATS knows the subscriptions
});

afterEach(async () => {
  await watch.close();
  await serving?.close();
});

/** Starts Redis again and waits until the client has its connection back. */
const restartRedis = async (): Promise<void> => {
  await redisServer.restart();
  await waitFor(() =>
    redis.ping().then(
      () => true,
      () => false,
    ),
  );
};

/** Moves the clock until the watch has asked at least once more. */
const anotherLook = async (): Promise<void> => {
  const before = questions;
  await waitFor(() => {
    nowMs += 100;
    return questions > before + 1;
  });
};

describe('what was opened with a credential ends', () => {
  test('once, and alone, when auth says that the credential was revoked or removed', async () => {
    const [byToken, byKey, other] = [standing(token('t1')), standing(key('k1'), application), standing(token('t2'))];
    auth.publish(AuthEvents.method.tokenRevoked, { tokenId: 't1' });
    auth.publish(AuthEvents.method.keyRemoved, { keyId: 'k1' });
    auth.publish(AuthEvents.method.tokenRevoked, { tokenId: 't1' });
    await waitFor(() => byToken.seen.ended + byKey.seen.ended === 2);
    await anotherLook();
    expect([byToken.seen.ended, byKey.seen.ended, other.seen.ended]).toEqual([1, 1, 0]);
    expect(watch.size).toBe(1);
  });

  test('when the credential expires, even while auth is away', async () => {
    await serving?.close();
    const [short, long] = [standing(token('t1', nowMs + 1_000)), standing(token('t2'))];
    nowMs += 1_000;
    await waitFor(() => short.seen.ended === 1);
    expect(long.seen.ended).toBe(0);
  });

  test('when its application is removed, but not when the application is only changed', async () => {
    const open = standing(application);
    auth.publish(AuthEvents.method.applicationChanged, { appKey: 'doors' });
    await waitFor(() => questions > 0);
    await anotherLook();
    expect(open.seen.ended).toBe(0);
    endedForAuth.add('application:acme:doors');
    auth.publish(AuthEvents.method.applicationChanged, { appKey: 'doors' });
    await waitFor(() => open.seen.ended === 1);
  });

  test('even when the event from auth was lost', async () => {
    const open = standing(key('k1'));
    endedForAuth.add('key:k1');
    await waitFor(() => {
      nowMs += 100;
      return open.seen.ended === 1;
    });
  });

  test('even while auth is away: Redis knows the revoked tokens', async () => {
    await serving?.close();
    const [revoked, other] = [standing(token('t1')), standing(token('t2'))];
    await redis.set(revocationKey('t1'), '1', 'PX', 60_000);
    await waitFor(() => {
      nowMs += 100;
      return revoked.seen.ended === 1;
    });
    expect(other.seen.ended).toBe(0);
  });

  test('even while Redis is away: auth knows the revoked tokens', async () => {
    const [revoked, other] = [standing(token('t1')), standing(token('t2'))];
    endedForAuth.add('token:t1');
    await redisServer.kill();
    await waitFor(
      () => {
        nowMs += 100;
        return revoked.seen.ended === 1;
      },
      { timeoutMs: 10_000 },
    );
    await restartRedis();
    expect(other.seen.ended).toBe(0);
  }, 20_000);
});

test('nothing ends while neither Redis nor auth can be asked', async () => {
  const open = [standing(token('t9')), standing(key('k1')), standing(application)];
  await serving?.close();
  await redisServer.kill();
  for (let look = 0; look < 10; look++) {
    nowMs += 100;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await restartRedis();
  expect(open.map(({ seen }) => seen.ended)).toEqual([0, 0, 0]);
}, 20_000);

test('thousands of sessions with one credential cause one request', async () => {
  for (let session = 0; session < 3_000; session++) standing(key('k1'), application);
  expect(watch.size).toBe(2);
  nowMs += 100;
  await waitFor(() => questions > 0);
  expect(questions).toBe(1);
});

test('a stopped watch is told nothing, and its credentials are no longer asked about', async () => {
  const open = standing(token('t1'), application);
  open.stop();
  expect(watch.size).toBe(0);
  auth.publish(AuthEvents.method.tokenRevoked, { tokenId: 't1' });
  await auth.call(Auth.method.findEnded, {});
  expect(open.seen.ended).toBe(0);
});

describe('isLive', () => {
  test('tells whether the named credential is valid now', async () => {
    expect(await watch.isLive(token('t3'))).toBe(true);
    expect(await watch.isLive(token('t3', nowMs))).toBe(false);
    expect(await watch.isLive(key('k1'))).toBe(true);
    endedForAuth.add('key:k1');
    expect(await watch.isLive(key('k1'))).toBe(false);
    await redis.set(revocationKey('t3'), '1', 'PX', 60_000);
    expect(await watch.isLive(token('t3'))).toBe(false);
  });

  test('throws UNAVAILABLE when the credential cannot be checked', async () => {
    await serving?.close();
    const failed: unknown = await watch.isLive(key('k1')).catch((error: unknown) => error);
    expect(isWeirError(failed, ErrorCode.UNAVAILABLE)).toBe(true);
  });
});
