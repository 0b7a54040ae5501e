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
  limits = new LoginLimits(redis, { failuresPerUser: 3, failuresPerAddress: 4 });
});

/** Lets a wait go by without waiting. */
const endWaits = async (): Promise<void> => {
  for (const key of await redis.keys('auth:login:*:wait')) await redis.del(key);
};

const waitOf = (admission: Admission): number => (admission.tag === 'waiting' ? admission.retryAfterMs : 0);

describe('a user', () => {
  test('must wait after so many attempts, twice as long each time, a quarter of an hour at most', async () => {
    for (let i = 0; i < 3; i++) expect(await limits.admitUser('ada')).toEqual({ tag: 'admitted' });
    const waits: number[] = [];
    for (let i = 0; i < 12; i++) {
      waits.push(Math.ceil(waitOf(await limits.admitUser('ada')) / 1000));
      await endWaits();
      expect(await limits.admitUser('ada')).toEqual({ tag: 'admitted' });
    }
    expect(waits).toEqual([2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]);
  });

  test('does not wait longer for asking while waiting', async () => {
    for (let i = 0; i < 3; i++) await limits.admitUser('ada');
    const first = waitOf(await limits.admitUser('ada'));
    for (let i = 0; i < 20; i++) await limits.admitUser('ada');
    expect(waitOf(await limits.admitUser('ada'))).toBeLessThanOrEqual(first);
  });

  test('starts afresh after a success', async () => {
    await limits.admitUser('ada');
    await limits.admitUser('ada');
    await limits.succeeded('ada', '192.0.2.1');
    for (let i = 0; i < 3; i++) expect(await limits.admitUser('ada')).toEqual({ tag: 'admitted' });
  });

  test('does not make another wait', async () => {
    for (let i = 0; i < 4; i++) await limits.admitUser('ada');
    expect(await limits.admitUser('bob')).toEqual({ tag: 'admitted' });
  });

  test('gains nothing by many attempts at a time', async () => {
    const admissions = await Promise.all(Array.from({ length: 50 }, () => limits.admitUser('ada')));
    expect(admissions.filter(({ tag }) => tag === 'admitted')).toHaveLength(3);
  });

  test('is forgotten a quarter of an hour after the last attempt', async () => {
    await limits.admitUser('ada');
    const [key = ''] = await redis.keys('auth:login:*:count');
    expect(await redis.pttl(key)).toBeGreaterThan(14 * 60_000);
    expect(await redis.pttl(key)).toBeLessThanOrEqual(15 * 60_000);
  });
});

describe('an address', () => {
  test('gets back only the attempt that succeeded', async () => {
    for (let i = 0; i < 3; i++) await limits.admitAddress('192.0.2.1');
    await limits.succeeded('mallory', '192.0.2.1');
    await limits.admitAddress('192.0.2.1');
    await limits.admitAddress('192.0.2.1');
    expect((await limits.admitAddress('192.0.2.1')).tag).toBe('waiting');
  });

  test('never waits while all its log-ins succeed', async () => {
    for (let i = 0; i < 20; i++) {
      expect(await limits.admitAddress('192.0.2.1')).toEqual({ tag: 'admitted' });
      await limits.succeeded('ada', '192.0.2.1');
    }
  });

  test('is counted by all instances together', async () => {
    const other = new LoginLimits(redis, { failuresPerUser: 3, failuresPerAddress: 4 });
    for (let i = 0; i < 2; i++) {
      await limits.admitAddress('192.0.2.1');
      await other.admitAddress('192.0.2.1');
    }
    expect((await limits.admitAddress('192.0.2.1')).tag).toBe('waiting');
    expect((await other.admitAddress('192.0.2.1')).tag).toBe('waiting');
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

test('without Redis nobody is let in, and nobody is told a lie', async () => {
  await server.kill();
  await expect(limits.admitUser('ada')).rejects.toMatchObject({ code: ErrorCode.UNAVAILABLE });
  await server.restart();
  await expect
    .poll(() => limits.admitUser('ada').catch(() => undefined), { timeout: 5_000 })
    .toEqual({ tag: 'admitted' });
}, 20_000);
