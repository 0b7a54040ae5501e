import { create } from '@bufbuild/protobuf';
import { StreamInfoSchema } from '@weir/contracts';
import { startRedis, type TestServer } from '@weir/testing';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { StreamRegistry } from './registry.js';

let server: TestServer;
let redis: Redis;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});
beforeEach(() => redis.flushall());
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

const info = (nodeId: string, streamName = 'cam') => create(StreamInfoSchema, { tenant: 't', streamName, nodeId });

async function claimed(registry: StreamRegistry, nodeId: string, insteadOf?: bigint) {
  const claim = await registry.claim(info(nodeId), insteadOf);
  if (claim.tag !== 'mine') throw new Error('held');
  return Object.assign(info(nodeId), { epoch: claim.epoch });
}

describe('the stream registry', () => {
  it('gives a free name to the first who claims it and tells the second who has it', async () => {
    const registry = new StreamRegistry(redis, 'host:1');
    await claimed(registry, 'a');
    expect(await registry.claim(info('b'))).toMatchObject({ tag: 'held', by: { nodeId: 'a' } });
  });

  it('keeps the names of tenants apart', async () => {
    const registry = new StreamRegistry(redis, 'host:1');
    await claimed(registry, 'a');
    const other = create(StreamInfoSchema, { tenant: 'u', streamName: 'cam', nodeId: 'b' });
    expect(await registry.claim(other)).toMatchObject({ tag: 'mine' });
    expect((await registry.list('t')).map(({ nodeId }) => nodeId)).toEqual(['a']);
    expect((await registry.list('u')).map(({ nodeId }) => nodeId)).toEqual(['b']);
  });

  it('finds a name with everything its owner has written, whatever characters it has', async () => {
    const registry = new StreamRegistry(redis, 'host:1');
    const name = 'sp ace/юникод:*?[x] "{}"';
    const claim = await registry.claim(info('a', name));
    if (claim.tag !== 'mine') throw new Error('held');
    const state = Object.assign(info('a', name), { epoch: claim.epoch, width: 640, height: 480, audioMuted: true });
    expect(await registry.write(state)).toBe(true);
    expect(await registry.find('t', name)).toMatchObject({
      streamName: name,
      width: 640,
      height: 480,
      audioMuted: true,
    });
  });

  it('gives every claim of a name a greater epoch than the last', async () => {
    const registry = new StreamRegistry(redis, 'host:1');
    const first = await claimed(registry, 'a');
    await registry.release(first);
    const second = await claimed(registry, 'a');
    expect(second.epoch).toBeGreaterThan(first.epoch);
  });

  it('replaces a holder only at the epoch that was seen', async () => {
    const registry = new StreamRegistry(redis, 'host:1');
    const dead = await claimed(registry, 'dead');
    const heir = await claimed(registry, 'heir', dead.epoch);
    expect(heir.epoch).toBeGreaterThan(dead.epoch);
    expect(await registry.claim(info('late'), dead.epoch)).toMatchObject({ tag: 'held', by: { nodeId: 'heir' } });
  });

  it('lets no stale owner overwrite or release a later one', async () => {
    const registry = new StreamRegistry(redis, 'host:1');
    const stale = await claimed(registry, 'stale');
    await claimed(registry, 'heir', stale.epoch);
    expect(await registry.write(stale)).toBe(false);
    await registry.release(stale);
    expect(await registry.find('t', 'cam')).toMatchObject({ nodeId: 'heir' });
  });

  it('is written anew by its owners after Redis has lost everything, and epochs still grow', async () => {
    const registry = new StreamRegistry(redis, 'host:1');
    const before = await claimed(registry, 'a');
    await redis.flushall();
    expect(await registry.write(before)).toBe(true);
    expect(await registry.find('t', 'cam')).toMatchObject({ nodeId: 'a', epoch: before.epoch });
    const heir = await claimed(registry, 'b', before.epoch);
    expect(heir.epoch).toBeGreaterThan(before.epoch);
  });

  it('forgets a stream that nobody refreshes', async () => {
    const registry = new StreamRegistry(redis, 'host:1');
    await claimed(registry, 'a');
    const ttlMs = await redis.pttl('weir:stream:t:cam');
    expect(ttlMs).toBeGreaterThan(0);
    await redis.pexpire('weir:stream:t:cam', 0);
    expect(await registry.list('t')).toEqual([]);
    expect(await redis.pttl('weir:stream-group:t')).toBeGreaterThan(0);
  });

  it('removes what an earlier process in the same place has left, and nothing else', async () => {
    const here = new StreamRegistry(redis, 'host:1');
    const elsewhere = new StreamRegistry(redis, 'host:2');
    await here.claim(info('old', 'left'));
    await elsewhere.claim(info('other', 'theirs'));
    await here.claim(info('new', 'mine'));
    expect((await here.removeLeftovers('new')).map(({ streamName }) => streamName)).toEqual(['left']);
    expect((await here.list('t')).map(({ streamName }) => streamName).sort()).toEqual(['mine', 'theirs']);
  });
});
