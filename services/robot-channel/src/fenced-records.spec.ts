import { startRedis, waitFor, type TestServer } from '@weir/testing';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { FencedRecords } from './fenced-records.js';

let server: TestServer;
let redis: Redis;
let records: FencedRecords;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
}, 60_000);
beforeEach(async () => {
  await redis.flushall();
  records = new FencedRecords(redis, { prefix: 'test', ttlMs: 10_000 });
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

const mine = (claim: Awaited<ReturnType<FencedRecords['claim']>>): bigint => {
  if (claim.tag !== 'mine') throw new Error('held');
  return claim.epoch;
};

test('a name is claimed once, and told who has it', async () => {
  const epoch = mine(await records.claim('a', 'first'));
  expect(await records.claim('a', 'second')).toEqual({ tag: 'held', epoch, value: 'first' });
  expect(await records.read('a')).toEqual({ epoch, value: 'first' });
});

test('many claims at once have one winner', async () => {
  const claims = await Promise.all(Array.from({ length: 50 }, (_, index) => records.claim('a', String(index))));
  expect(claims.filter(({ tag }) => tag === 'mine')).toHaveLength(1);
});

test('a claim instead of a holder counts only while he is the holder', async () => {
  const first = mine(await records.claim('a', 'first'));
  const second = mine(await records.claim('a', 'second', first));
  expect(second).toBeGreaterThan(first);
  expect(await records.claim('a', 'third', first)).toMatchObject({ tag: 'held', value: 'second' });
});

test('whoever takes a name has it, and the former holder can neither renew nor release it', async () => {
  const old = await records.take('a', 'old');
  const young = await records.take('a', 'young');
  expect(young).toBeGreaterThan(old);
  expect(await records.renew([{ name: 'a', epoch: old, value: 'old' }])).toEqual([false]);
  expect(await records.release('a', old)).toBe(false);
  expect(await records.read('a')).toEqual({ epoch: young, value: 'young' });
  expect(await records.release('a', young)).toBe(true);
  expect(await records.read('a')).toBeUndefined();
});

test('a former holder can not bring back a name that was released after him', async () => {
  const old = await records.take('a', 'old');
  await records.release('a', await records.take('a', 'young'));
  expect(await records.renew([{ name: 'a', epoch: old, value: 'old' }])).toEqual([false]);
});

test('renewing writes anew what Redis has lost', async () => {
  const epoch = await records.take('a', 'me');
  await redis.flushall();
  expect(await records.renew([{ name: 'a', epoch, value: 'me' }])).toEqual([true]);
  expect(await records.read('a')).toEqual({ epoch, value: 'me' });
  await redis.flushall();
  expect(await records.take('a', 'other')).toBeGreaterThan(epoch);
});

test('what nobody renews goes', async () => {
  const short = new FencedRecords(redis, { prefix: 'test', ttlMs: 200 });
  const kept = await short.take('kept', 'me');
  await short.take('left', 'me');
  await waitFor(async () => {
    await short.renew([{ name: 'kept', epoch: kept, value: 'me' }]);
    return (await short.read('left')) === undefined;
  });
  expect(await short.read('kept')).toMatchObject({ value: 'me' });
});

test('all names are told, once each, without what stands beside them', async () => {
  const names = Array.from({ length: 1_500 }, (_, index) => `t/n${index}`);
  await Promise.all(names.map((name) => records.take(name, 'v')));
  await redis.set('testing:other', '1');
  await records.release('t/n0', (await records.read('t/n0'))?.epoch ?? 0n);
  expect((await records.names()).sort()).toEqual(names.slice(1).sort());
});

test('values may hold blanks, and many are read at once', async () => {
  const names = Array.from({ length: 1_200 }, (_, index) => `n${index}`);
  await Promise.all(names.filter((_name, index) => index % 2 === 0).map((name) => records.take(name, `v ${name} {}`)));
  const read = await records.readAll(names);
  expect(read).toHaveLength(1_200);
  expect(read[1_198]?.value).toBe('v n1198 {}');
  expect(read[1_199]).toBeUndefined();
  expect(await records.renew([])).toEqual([]);
});
