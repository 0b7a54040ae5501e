import { ErrorCode, isWeirError } from '@weir/contracts';
import { startRedis, waitFor, type TestServer } from '@weir/testing';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { mayClaimReserved, NameReservations, ReservedNames } from './reserved-names.js';

let server: TestServer;
let redis: Redis;
let robots: NameReservations;
let names: ReservedNames;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url, { maxRetriesPerRequest: 1, retryStrategy: () => 50 });
  redis.on('error', () => undefined); // emitted by the test that kills the server
}, 60_000);
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});
beforeEach(async () => {
  await redis.flushall();
  robots = new NameReservations({ redis, owner: 'robots' });
  names = new ReservedNames({ redis, log: { warn: () => undefined } });
});

test('names under a reserved prefix belong to its owner, in its tenant, as soon as it is reserved', async () => {
  expect(await names.find('demo', 'dog/front')).toBeUndefined();
  await robots.reserve({ tenant: 'demo', prefix: 'dog/' });
  await new NameReservations({ redis, owner: 'calls' }).reserve({ tenant: 'demo', prefix: 'call/7/' });
  expect(await names.find('demo', 'dog/front')).toEqual({ owner: 'robots', prefix: 'dog/' });
  expect(await names.find('demo', 'dog/a/b')).toEqual({ owner: 'robots', prefix: 'dog/' });
  expect(await names.find('demo', 'call/7/alice')).toEqual({ owner: 'calls', prefix: 'call/7/' });
  for (const [tenant, name] of [
    ['other', 'dog/front'],
    ['demo', 'dog'],
    ['demo', 'dogs/front'],
    ['demo', 'my/dog/front'],
    ['demo', 'call/8/alice'],
  ] as const)
    expect([name, await names.find(tenant, name)]).toEqual([name, undefined]);
  await robots.release({ tenant: 'demo', prefix: 'dog/' });
  expect(await names.find('demo', 'dog/front')).toBeUndefined();
});

test('replaceAll replaces all earlier reservations', async () => {
  await robots.reserve({ tenant: 'demo', prefix: 'old/' });
  const many = Array.from({ length: 2_500 }, (_, index) => ({ tenant: 'demo', prefix: `robot-${index}/` }));
  await robots.replaceAll(many);
  expect(await names.find('demo', 'old/front')).toBeUndefined();
  expect(await names.find('demo', 'robot-2499/front')).toEqual({ owner: 'robots', prefix: 'robot-2499/' });
});

test('a reader that knows the reserved names keeps them while Redis is empty or away', async () => {
  await robots.reserve({ tenant: 'demo', prefix: 'dog/' });
  await names.refresh();
  await redis.flushall();
  expect(await robots.areLost()).toBe(true);
  expect(await names.find('demo', 'dog/front')).toBeDefined();
  await robots.replaceAll([{ tenant: 'demo', prefix: 'cat/' }]);
  expect(await robots.areLost()).toBe(false);
  expect(await names.find('demo', 'dog/front')).toBeUndefined();
  await server.kill();
  expect(await names.find('demo', 'cat/front')).toBeDefined();
  const late = new ReservedNames({ redis, log: { warn: () => undefined } });
  const failed: unknown = await late.find('demo', 'dog/front').catch((error: unknown) => error);
  expect(isWeirError(failed, ErrorCode.UNAVAILABLE)).toBe(true);
  await server.restart();
  await waitFor(() => redis.status === 'ready');
}, 20_000);

describe('a reserved name', () => {
  const reservation = { owner: 'robots', prefix: 'dog/' } as const;
  test.each([
    ['its owner', 'robots', [], true],
    ['another owner', 'calls', [], false],
    ['the holder of a grant for exactly these names', '', ['dog/*'], true],
    ['the holder of a grant for one of them', '', ['dog/front'], true],
    ['the holder of a grant for everything', '', ['*'], false],
    ['the holder of a broader grant', '', ['do*', '*/front'], false],
    ['a client without a grant', '', [], false],
  ])('may be claimed by %s: %s', (_who, owner, publishPatterns, expected) => {
    expect(mayClaimReserved(reservation, { owner, publishPatterns })).toBe(expected);
  });
});
