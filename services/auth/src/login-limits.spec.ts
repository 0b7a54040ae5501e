import { ErrorCode } from '@weir/contracts';
import { startRedis, type TestServer } from '@weir/testing';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { LoginLimits, networkOf, type Admission } from './login-limits.js';

let server: TestServer;
let redis: Redis;
let limits: LoginLimits;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url, { maxRetriesPerRequest: 0, retryStrategy: () => 50 });
  redis.on('error', () => undefined);
});

afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

beforeEach(async () => {
  await redis.flushall();
  limits = new LoginLimits(redis, { failuresPerUser: 1_000, failuresPerAddress: 4 });
});

/** Ends the waits without waiting. */
const endWaits = async (): Promise<void> => {
  for (const key of await redis.keys('auth:login:*:wait')) await redis.del(key);
};

const waitOf = (admission: Admission): number => (admission.tag === 'waiting' ? admission.retryAfterMs : 0);

describe('a user name at an address', () => {
  const FROM = '192.0.2.1';
  const admit = (name = 'ada', from = FROM) => limits.admit(name, from);

  beforeEach(() => {
    limits = new LoginLimits(redis, { failuresPerUser: 3, failuresPerAddress: 1_000 });
  });

  test('must wait after its free attempts, twice as long each time, up to a quarter of an hour', async () => {
    for (let i = 0; i < 3; i++) expect(await admit()).toEqual({ tag: 'admitted' });
    const waits: number[] = [];
    for (let i = 0; i < 12; i++) {
      waits.push(Math.ceil(waitOf(await admit()) / 1000));
      await endWaits();
      expect(await admit()).toEqual({ tag: 'admitted' });
    }
    expect(waits).toEqual([2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]);
  });

  test('does not wait longer because it asks while it waits', async () => {
    for (let i = 0; i < 3; i++) await admit();
    const first = waitOf(await admit());
    for (let i = 0; i < 20; i++) await admit();
    expect(waitOf(await admit())).toBeLessThanOrEqual(first);
  });

  test('starts afresh after a success', async () => {
    await admit();
    await admit();
    await limits.succeeded('ada', FROM);
    for (let i = 0; i < 3; i++) expect(await admit()).toEqual({ tag: 'admitted' });
  });

  test('makes neither another name nor another address wait', async () => {
    for (let i = 0; i < 4; i++) await admit();
    expect((await admit()).tag).toBe('waiting');
    expect(await admit('bob')).toEqual({ tag: 'admitted' });
    expect(await admit('ada', '192.0.2.2')).toEqual({ tag: 'admitted' });
  });

  test('gains nothing from parallel attempts', async () => {
    const admissions = await Promise.all(Array.from({ length: 50 }, () => admit()));
    expect(admissions.filter(({ tag }) => tag === 'admitted')).toHaveLength(3);
  });

  test('has one attempt instead of three when the name is guessed from many addresses', async () => {
    for (let i = 0; i < 40; i++) expect(await admit('ada', `198.51.100.${i}`)).toEqual({ tag: 'admitted' });
    expect((await admit('ada', '198.51.100.39')).tag).toBe('waiting');
    expect(await admit('ada', '203.0.113.1')).toEqual({ tag: 'admitted' });
    expect(await admit('bob', '198.51.100.39')).toEqual({ tag: 'admitted' });
  });

  test('is forgotten, with all that was counted, a quarter of an hour after the last attempt', async () => {
    for (let i = 0; i < 5; i++) await admit();
    const keys = await redis.keys('*');
    expect(keys).toHaveLength(4);
    for (const key of keys) {
      expect(await redis.pttl(key)).toBeGreaterThan(0);
      expect(await redis.pttl(key)).toBeLessThanOrEqual(15 * 60_000);
    }
  });
});

describe('an address', () => {
  test('gets back only the attempt that succeeded', async () => {
    for (let i = 0; i < 3; i++) await limits.admit('ada', '192.0.2.1');
    await limits.succeeded('mallory', '192.0.2.1');
    await limits.admit('ada', '192.0.2.1');
    await limits.admit('ada', '192.0.2.1');
    expect((await limits.admit('ada', '192.0.2.1')).tag).toBe('waiting');
  });

  test('never waits while all its log-ins succeed', async () => {
    for (let i = 0; i < 20; i++) {
      expect(await limits.admit('ada', '192.0.2.1')).toEqual({ tag: 'admitted' });
      await limits.succeeded('ada', '192.0.2.1');
    }
  });

  test('is counted by all instances together', async () => {
    const other = new LoginLimits(redis, { failuresPerUser: 1_000, failuresPerAddress: 4 });
    for (let i = 0; i < 2; i++) {
      await limits.admit('ada', '192.0.2.1');
      await other.admit('ada', '192.0.2.1');
    }
    expect((await limits.admit('ada', '192.0.2.1')).tag).toBe('waiting');
    expect((await other.admit('ada', '192.0.2.1')).tag).toBe('waiting');
  });

  test.each([
    ['192.0.2.1', '192.0.2.1', true],
    ['192.0.2.1', '192.0.2.2', false],
    ['::ffff:192.0.2.1', '192.0.2.1', true],
    ['2001:db8:0:1::1', '2001:db8:0:1:ffff::2', true],
    ['2001:db8:0:1::1', '2001:db8:0:2::1', false],
  ])('%s and %s are one: %s', (one, two, same) => {
    expect(networkOf(one) === networkOf(two)).toBe(same);
  });
});

test('without Redis every attempt fails with UNAVAILABLE', async () => {
  await server.kill();
  await expect(limits.admit('ada', '192.0.2.1')).rejects.toMatchObject({ code: ErrorCode.UNAVAILABLE });
  await server.restart();
  await expect
    .poll(() => limits.admit('ada', '192.0.2.1').catch(() => undefined), { timeout: 5_000 })
    .toEqual({ tag: 'admitted' });
}, 20_000);
