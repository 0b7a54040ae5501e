import { startRedis, waitFor, type TestServer } from '@weir/testing';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Leases, type Claim } from './leases.js';

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

const leasesOf = (owner: string, ttlMs = 10_000) =>
  new Leases(redis, { prefix: 'test', owner, ttlMs, groupOf: (name) => name.split('/')[0] ?? '' });

const mine = (claim: Claim): bigint => {
  if (claim.tag !== 'mine') throw new Error(`held by ${claim.by.owner}`);
  return claim.epoch;
};

describe('leases', () => {
  it('give a free name to the first who claims it, and tell the second who has it', async () => {
    const epoch = mine(await leasesOf('a').claim('t/cam', 'said by a'));
    const by = { name: 't/cam', owner: 'a', value: 'said by a', epoch };
    expect(await leasesOf('b').claim('t/cam')).toEqual({ tag: 'held', by });
    expect(await leasesOf('b').find('t/cam')).toEqual(by);
  });

  it('have one winner of many claims at once', async () => {
    const claims = await Promise.all(Array.from({ length: 50 }, (_, index) => leasesOf(`o${index}`).claim('t/cam')));
    expect(claims.filter(({ tag }) => tag === 'mine')).toHaveLength(1);
  });

  it('refuse an owner that claims again what it holds', async () => {
    const leases = leasesOf('a');
    await leases.claim('t/cam');
    expect(await leases.claim('t/cam')).toMatchObject({ tag: 'held', by: { owner: 'a' } });
  });

  it('give every claim of a name a greater epoch than the last', async () => {
    const leases = leasesOf('a');
    const first = mine(await leases.claim('t/cam'));
    expect(await leases.release('t/cam', first)).toBe(true);
    expect(await leases.find('t/cam')).toBeUndefined();
    expect(mine(await leases.claim('t/cam'))).toBeGreaterThan(first);
  });

  it('replace an owner that is gone only at the epoch that was seen', async () => {
    const gone = mine(await leasesOf('gone').claim('t/cam'));
    expect(mine(await leasesOf('heir').claim('t/cam', '', gone))).toBeGreaterThan(gone);
    expect(await leasesOf('late').claim('t/cam', '', gone)).toMatchObject({ tag: 'held', by: { owner: 'heir' } });
  });

  it('give a name to whoever takes it; the previous owner can neither renew nor release it', async () => {
    const [old, young] = [leasesOf('old'), leasesOf('young')];
    const before = await old.take('t/cam');
    const epoch = await young.take('t/cam', 'mine');
    expect(epoch).toBeGreaterThan(before);
    expect(await old.renew([{ name: 't/cam', epoch: before }])).toEqual([false]);
    expect(await old.release('t/cam', before)).toBe(false);
    expect(await old.find('t/cam')).toMatchObject({ owner: 'young', value: 'mine', epoch });
  });

  it('keep an owner from bringing back a name that a later owner has released', async () => {
    const old = leasesOf('old');
    const before = await old.take('t/cam');
    const young = leasesOf('young');
    await young.release('t/cam', await young.take('t/cam'));
    expect(await old.renew([{ name: 't/cam', epoch: before }])).toEqual([false]);
  });

  it('are written anew by renewal after Redis has lost everything, and epochs still grow', async () => {
    const leases = leasesOf('a');
    const epoch = mine(await leases.claim('t/cam', 'v'));
    await redis.flushall();
    expect(await leases.renew([{ name: 't/cam', epoch, value: 'v' }])).toEqual([true]);
    expect(await leases.list('t')).toEqual([{ name: 't/cam', owner: 'a', value: 'v', epoch }]);
    await redis.flushall();
    expect(await leases.take('t/cam')).toBeGreaterThan(epoch);
  });

  it('end when nobody renews them', async () => {
    const leases = leasesOf('a', 200);
    const kept = mine(await leases.claim('t/kept'));
    await leases.claim('t/left');
    await waitFor(async () => {
      await leases.renew([{ name: 't/kept', epoch: kept }]);
      return (await leases.find('t/left')) === undefined;
    });
    expect((await leases.list('t')).map(({ name }) => name)).toEqual(['t/kept']);
    await leases.claim('t/new');
    const listed = await redis.zrange('test-group:t', '0', '-1');
    expect([listed.includes('t/left'), listed.includes('t/new')]).toEqual([false, true]);
    await waitFor(async () => (await redis.exists('test-group:t')) === 0, { what: 'the end of the group' });
  });

  it('are listed by their groups, whatever characters their names and values have', async () => {
    const leases = leasesOf('a');
    const names = ['t/sp ace/юникод:*?[x] "{}"', 't/b', 'u/c'];
    for (const name of names) await leases.claim(name, `value of ${name} `);
    await redis.set('test-group', 'no group');
    const listed = await leases.list('t');
    expect(listed.map(({ name }) => name).sort()).toEqual(names.slice(0, 2).sort());
    expect(listed.every(({ name, value }) => value === `value of ${name} `)).toBe(true);
    expect((await leases.groups()).sort()).toEqual(['t', 'u']);
    await leases.release('u/c', (await leases.find('u/c'))?.epoch ?? 0n);
    expect(await leases.groups()).toEqual(['t']);
  });

  it('are renewed and found by the thousand, in order', async () => {
    const leases = leasesOf('a');
    const names = Array.from({ length: 1_200 }, (_, index) => `t/n${index}`);
    const epochs = await Promise.all(names.map(async (name) => leases.take(name)));
    const lost = names.indexOf('t/n700');
    await leasesOf('b').take('t/n700');
    const kept = await leases.renew(names.map((name, index) => ({ name, epoch: epochs[index] ?? 0n })));
    expect(kept.flatMap((isKept, index) => (isKept ? [] : [index]))).toEqual([lost]);
    const found = await leases.findAll([...names, 't/nobody']);
    expect(found.map((record) => record?.name)).toEqual([...names, undefined]);
  });

  it('never let two owners write what the lease guards, however long each of them is paused', async () => {
    const TTL_MS = 60;
    /** Accepts a write only if no newer epoch has written before, as every resource behind a lease must. */
    const writes: { owner: string; epoch: bigint }[] = [];
    let newest = 0n;
    const write = (owner: string, epoch: bigint): boolean => {
      if (epoch < newest) return false;
      newest = epoch;
      writes.push({ owner, epoch });
      return true;
    };
    let refused = 0;
    let random = 7;
    const next = (bound: number) => {
      random = (random * 48_271) % 2_147_483_647;
      return random % bound;
    };
    const live = async (owner: string) => {
      const leases = leasesOf(owner, TTL_MS);
      let epoch: bigint | undefined;
      for (let round = 0; round < 40; round++) {
        if (epoch === undefined) {
          const claim = await leases.claim('t/guarded');
          if (claim.tag === 'mine') epoch = claim.epoch;
        }
        // Every fourth pause lasts longer than the lease.
        await new Promise((resolve) => setTimeout(resolve, next(4) === 0 ? TTL_MS * 1.5 : next(15)));
        if (epoch === undefined) continue;
        // A paused owner does this when it wakes up: it writes before it checks whether it still holds the lease.
        if (!write(owner, epoch)) refused += 1;
        if ((await leases.renew([{ name: 't/guarded', epoch }]))[0] !== true) epoch = undefined;
        else if (next(5) === 0) {
          await leases.release('t/guarded', epoch);
          epoch = undefined;
        }
      }
    };
    await Promise.all(['a', 'b', 'c', 'd'].map(live));
    const owners = new Map<bigint, string>();
    for (const { owner, epoch } of writes) {
      expect(owners.get(epoch) ?? owner).toBe(owner);
      owners.set(epoch, owner);
    }
    expect(new Set(owners.values()).size).toBeGreaterThan(1);
    expect(refused).toBeGreaterThan(0);
  });

  it('refuse an owner whose name could not be read back', () => {
    expect(() => leasesOf('two words')).toThrow('an owner is a word without blanks');
  });

  it('throw while Redis is away', async () => {
    const away = new Redis({ port: 1, retryStrategy: () => null, maxRetriesPerRequest: 0, lazyConnect: true });
    away.on('error', () => undefined);
    const leases = new Leases(away, { prefix: 'test', owner: 'a', ttlMs: 1_000 });
    await expect(leases.claim('t/cam')).rejects.toThrow();
    away.disconnect();
  });
});
