import type { Pace } from '@weir/timing';
import { startPostgres, waitFor, type TestServer } from '@weir/testing';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { BrokenOff } from './attempt.js';
import type { Outcome } from './message.js';
import { MessageStore, type Transaction } from './message-store.js';
import { Outbox, type OutboxOptions } from './outbox.js';
import type { QueueHandler } from './queue-worker.js';

let postgres: TestServer;
/** Connections of the messages' owner. */
let owner: pg.Pool;
let outbox: Outbox;
const opened: Outbox[] = [];

const DELIVERED: Outcome = { tag: 'delivered' };
const LATER: Outcome = { tag: 'retry', words: 'not now' };
const quick = { firstMs: 1, maxMs: 1 };
const silent = { info: () => undefined, warn: () => undefined, error: () => undefined };

beforeAll(async () => {
  postgres = await startPostgres();
  owner = new pg.Pool({ connectionString: postgres.url });
  owner.on('error', () => undefined);
}, 60_000);
afterAll(async () => {
  await owner.end();
  await postgres.stop();
});

const open = async (options: Partial<OutboxOptions> = {}): Promise<Outbox> => {
  const one = await Outbox.open({
    ...{ url: postgres.url, owner: 'test', instance: `i${opened.length}`, log: silent, pollMs: 20 },
    ...{ closeGraceMs: 0, ...options },
  });
  opened.push(one);
  return one;
};

beforeEach(async () => {
  outbox = await open();
  await owner.query('TRUNCATE test_outbox.message CASCADE');
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((one) => one.close()));
});

/** Runs the work in a transaction of the owner, as Prisma's `$transaction` does. */
const inTransaction = async (work: (transaction: Transaction) => Promise<void>): Promise<void> => {
  const client = await owner.connect();
  try {
    await client.query('BEGIN');
    await work({ $executeRawUnsafe: async (sql, ...values) => (await client.query(sql, values)).rowCount ?? 0 });
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  } finally {
    client.release();
  }
};

const handler = (
  deliver: QueueHandler<string>['deliver'],
  options: Partial<QueueHandler<string>> = {},
): QueueHandler<string> => ({ schema: z.string(), deliver, pace: quick, ...options });

/** Delivers everything, and notes the payloads in order. */
const collecting = (...outboxes: Outbox[]): string[] => {
  const got: string[] = [];
  for (const one of outboxes)
    one.deliver(
      'q',
      handler(async ({ payload }) => {
        got.push(payload);
        return DELIVERED;
      }),
    );
  return got;
};

/** An instance takes what is due, and is killed. @returns how much it took */
const dieWith = async (leaseMs: number, pace: Pace = quick): Promise<number> => {
  const killed = await MessageStore.open({
    ...{ url: postgres.url, owner: 'test', instance: 'killed', log: silent },
    ...{ keepTryingMs: 60_000, maxConnections: 1 },
  });
  await killed.takeBack('q', pace);
  const leased = await killed.lease('q', { count: 10, leaseMs, fullDestinations: [] });
  await killed.close();
  return leased.length;
};

const stateOf = async (id: string) => (await outbox.get(id))?.state;
const settled = (id: string) => waitFor(async () => (await stateOf(id)) !== 'waiting');

describe('a message', () => {
  it('is delivered when the transaction that wrote it commits, and not when it is rolled back', async () => {
    await owner.query('CREATE TABLE IF NOT EXISTS fact (name text)');
    const got = collecting(outbox);
    const failing = inTransaction(async (transaction) => {
      await transaction.$executeRawUnsafe("INSERT INTO fact VALUES ('lost')");
      await outbox.add(transaction, { queue: 'q', payload: 'lost' });
      throw new Error('the owner changed its mind');
    });
    await expect(failing).rejects.toThrow('changed its mind');
    await inTransaction(async (transaction) => {
      await transaction.$executeRawUnsafe("INSERT INTO fact VALUES ('kept')");
      await outbox.add(transaction, { queue: 'q', payload: 'kept' });
    });
    await waitFor(() => got.length > 0);
    expect(got).toEqual(['kept']);
    expect((await owner.query('SELECT name FROM fact')).rows).toEqual([{ name: 'kept' }]);
  });

  it('keeps its id over retries, and its log tells of every attempt', async () => {
    const ids: string[] = [];
    outbox.deliver(
      'q',
      handler(async ({ id, attempt }) => {
        ids.push(id);
        if (attempt === 1) return { tag: 'retry', status: 503, words: 'the receiver is busy' };
        if (attempt === 2) throw new TypeError('with a secret inside');
        return { tag: 'delivered', status: 204 };
      }),
    );
    const id = await outbox.addAlone({ queue: 'q', payload: 'x' });
    await settled(id);
    expect(ids).toEqual([id, id, id]);
    expect(await outbox.attempts(id)).toMatchObject([
      { result: 'retry', status: 503, words: 'the receiver is busy', instance: 'i0' },
      { result: 'retry', status: undefined, words: 'unexpected error (TypeError)' },
      { result: 'delivered', status: 204, words: undefined },
    ]);
    expect(await outbox.get(id)).toMatchObject({ state: 'delivered', attempts: 3, inProgress: false });
    const [logged] = await outbox.log({ ids: [id] });
    expect(logged?.log).toEqual(await outbox.attempts(id));
  });

  it('is added once, even if its owner adds it again under its id', async () => {
    const got = collecting(outbox);
    await outbox.addAlone({ queue: 'q', id: 'event-1', payload: 'first' });
    await settled('event-1');
    await outbox.addAlone({ queue: 'q', id: 'event-1', payload: 'second' });
    await outbox.addAlone({ queue: 'q', id: 'event-2', payload: 'other' });
    await settled('event-2');
    expect(got).toEqual(['first', 'other']);
  });

  it('carries what an earlier attempt noted', async () => {
    const notes: (string | undefined)[] = [];
    outbox.deliver(
      'q',
      handler(async ({ attempt, note }, context) => {
        notes.push(note);
        await context.note(`upload ${attempt}`);
        return attempt < 3 ? LATER : DELIVERED;
      }),
    );
    const id = await outbox.addAlone({ queue: 'q', payload: 'x' });
    await settled(id);
    expect(notes).toEqual([undefined, 'upload 1', 'upload 2']);
    expect(await outbox.get(id)).toMatchObject({ note: 'upload 3' });
  });

  it('waits when its payload is not understood, because a newer instance may understand it', async () => {
    collecting(outbox);
    const id = await outbox.addAlone({ queue: 'q', payload: { not: 'a text' } });
    await waitFor(async () => (await outbox.attempts(id)).length > 1);
    expect(await stateOf(id)).toBe('waiting');
  });

  it('with a payload that is too large is refused', async () => {
    await expect(outbox.addAlone({ queue: 'q', payload: 'x'.repeat(300_000) })).rejects.toThrow(RangeError);
  });
});

describe('messages with one key', () => {
  it('are delivered in their order, while a failing one of another key is tried again', async () => {
    const got: string[] = [];
    outbox.deliver(
      'q',
      handler(async ({ payload, attempt }) => {
        if (payload.startsWith('b1') && attempt < 5) return LATER;
        got.push(payload);
        return DELIVERED;
      }),
    );
    await inTransaction(async (transaction) => {
      for (const payload of ['a1', 'a2', 'a3']) await outbox.add(transaction, { queue: 'q', key: 'a', payload });
      for (const payload of ['b1', 'b2', 'b3']) await outbox.add(transaction, { queue: 'q', key: 'b', payload });
    });
    await waitFor(() => got.length === 6);
    expect(got.filter((payload) => payload.startsWith('a'))).toEqual(['a1', 'a2', 'a3']);
    expect(got.filter((payload) => payload.startsWith('b'))).toEqual(['b1', 'b2', 'b3']);
    expect(got.indexOf('a3')).toBeLessThan(got.indexOf('b1'));
  });

  it('have the order of the commits, whatever the transactions do meanwhile', async () => {
    const order: string[] = [];
    let second: Promise<void> | undefined;
    await inTransaction(async (transaction) => {
      await outbox.add(transaction, { queue: 'q', key: 'k', payload: 'first' });
      second = inTransaction(async (other) => {
        await outbox.add(other, { queue: 'q', key: 'k', payload: 'second' });
        order.push('second added');
      });
      await waitFor(async () => (await owner.query('SELECT 1 FROM pg_locks WHERE NOT granted')).rowCount === 1);
      order.push('first commits');
    });
    await second;
    expect(order).toEqual(['first commits', 'second added']);
    const got = collecting(outbox);
    await waitFor(() => got.length === 2);
    expect(got).toEqual(['first', 'second']);
  });

  it('go on when the one before them is dead', async () => {
    const got: string[] = [];
    outbox.deliver(
      'q',
      handler(async ({ payload }) => {
        if (payload === 'bad') return { tag: 'dead', words: 'never', status: 410 };
        got.push(payload);
        return DELIVERED;
      }),
    );
    const bad = await outbox.addAlone({ queue: 'q', key: 'k', payload: 'bad' });
    await outbox.addAlone({ queue: 'q', key: 'k', payload: 'good' });
    await waitFor(() => got.length === 1);
    expect(await outbox.get(bad)).toMatchObject({ state: 'dead', attempts: 1 });
  });
});

it('counts what waits, and knows how old the oldest is', async () => {
  const store = await MessageStore.open({
    ...{ url: postgres.url, owner: 'test', instance: 'counting', log: silent },
    ...{ keepTryingMs: 60_000, maxConnections: 1 },
  });
  for (const payload of ['x', 'y']) await store.addAlone({ queue: 'q', payload });
  await owner.query("UPDATE test_outbox.message SET created_at = now() - interval '1 minute' WHERE payload LIKE '%x%'");
  const [count, ...others] = await store.counts();
  expect(count).toMatchObject({ queue: 'q', state: 'waiting', count: 2 });
  expect(count?.oldestS).toBeGreaterThanOrEqual(60);
  expect(others).toEqual([]);
  await store.close();
});

describe('several instances', () => {
  it('deliver each message once, and never two of one key at the same time', async () => {
    const instances = [outbox, await open(), await open()];
    const got: string[] = [];
    const busy = new Set<string>();
    const overlaps: string[] = [];
    for (const one of instances)
      one.deliver(
        'q',
        handler(async ({ key = '', payload }) => {
          if (busy.has(key)) overlaps.push(payload);
          busy.add(key);
          await new Promise((resolve) => setImmediate(resolve));
          busy.delete(key);
          got.push(payload);
          return DELIVERED;
        }),
      );
    const wanted = Array.from({ length: 120 }, (_, index) => String(index));
    await inTransaction(async (transaction) => {
      for (const payload of wanted)
        await outbox.add(transaction, { queue: 'q', key: `k${Number(payload) % 7}`, payload });
    });
    await waitFor(() => got.length >= wanted.length);
    for (const one of instances) one.wake();
    expect([...got].sort()).toEqual([...wanted].sort());
    expect(overlaps).toEqual([]);
    for (let key = 0; key < 7; key++) {
      const ofKey = (payloads: string[]) => payloads.filter((payload) => Number(payload) % 7 === key);
      expect(ofKey(got)).toEqual(ofKey(wanted));
    }
  });

  it('take over from one that was killed, when its lease is over', async () => {
    const id = await outbox.addAlone({ queue: 'q', payload: 'x' });
    expect(await dieWith(300)).toBe(1);
    expect(await outbox.get(id)).toMatchObject({ inProgress: true });
    collecting(outbox);
    await settled(id);
    expect(await outbox.attempts(id)).toMatchObject([
      { instance: 'killed', result: undefined, durationMs: undefined },
      { instance: 'i0', result: 'delivered' },
    ]);
  });

  it('keep a message as long as its attempt goes on, longer than a lease', async () => {
    let finish: () => void = () => undefined;
    const long = new Promise<void>((resolve) => (finish = resolve));
    let attempts = 0;
    const slow = handler(
      async () => {
        attempts += 1;
        await long;
        return DELIVERED;
      },
      { leaseMs: 200 },
    );
    outbox.deliver('q', slow);
    (await open()).deliver('q', slow);
    const id = await outbox.addAlone({ queue: 'q', payload: 'x' });
    const dueAt = async () => (await outbox.get(id))?.dueAt.getTime() ?? 0;
    const first = await dueAt();
    await waitFor(async () => (await dueAt()) > first + 400);
    finish();
    await settled(id);
    expect(attempts).toBe(1);
  });

  it('break off an attempt whose message another instance has taken, without changing that message', async () => {
    const reasons: unknown[] = [];
    outbox.deliver(
      'q',
      handler(
        (_message, { signal }) =>
          new Promise((resolve) => {
            signal.addEventListener('abort', () => {
              reasons.push((signal.reason as BrokenOff).reason);
              resolve(DELIVERED);
            });
          }),
        { leaseMs: 100 },
      ),
    );
    const id = await outbox.addAlone({ queue: 'q', payload: 'x' });
    await waitFor(async () => (await outbox.get(id))?.inProgress === true);
    await owner.query("UPDATE test_outbox.message SET lease = gen_random_uuid(), due_at = now() + interval '1 hour'");
    await waitFor(async () => (await outbox.attempts(id))[0]?.result !== undefined);
    expect(reasons).toEqual(['lease-lost']);
    expect(await outbox.get(id)).toMatchObject({ state: 'waiting', inProgress: true });
  });
});

describe('while PostgreSQL is away', () => {
  it('nothing is lost, and what was delivered meanwhile is not delivered again', async () => {
    const got: string[] = [];
    let finish: () => void = () => undefined;
    const away = new Promise<void>((resolve) => (finish = resolve));
    outbox.deliver(
      'q',
      handler(async ({ payload }) => {
        got.push(payload);
        if (payload === 'during') await away;
        return DELIVERED;
      }),
    );
    const id = await outbox.addAlone({ queue: 'q', payload: 'during' });
    await waitFor(() => got.length === 1);
    await postgres.kill();
    finish();
    await expect(outbox.addAlone({ queue: 'q', payload: 'refused' })).rejects.toThrow();
    await postgres.restart();
    await waitFor(async () => (await stateOf(id)) === 'delivered');
    const after = await outbox.addAlone({ queue: 'q', payload: 'after' });
    await settled(after);
    expect(got).toEqual(['during', 'after']);
  }, 30_000);
});

describe('a message that can’t be delivered', () => {
  it('is dead when its time is over, after a last attempt', async () => {
    const lasts: boolean[] = [];
    outbox.deliver(
      'q',
      handler(async ({ last }) => {
        lasts.push(last);
        return LATER;
      }),
    );
    const id = await outbox.addAlone({ queue: 'q', payload: 'x', keepTryingMs: 300 });
    await settled(id);
    expect(await stateOf(id)).toBe('dead');
    expect(lasts.length).toBeGreaterThan(1);
    expect(lasts.indexOf(true)).toBe(lasts.length - 1);
  });

  it('is dead only after its owner has been told', async () => {
    const told: string[] = [];
    outbox.deliver(
      'q',
      handler(async () => ({ tag: 'dead', words: 'the URL is no longer valid', status: 403 }), {
        dead: async ({ payload, attempt }, { words, status }) => {
          told.push(`${payload} ${attempt}: ${status} ${words}`);
          if (attempt === 1) throw new Error('the database is away');
        },
      }),
    );
    const id = await outbox.addAlone({ queue: 'q', payload: 'x' });
    await settled(id);
    expect(told).toEqual(['x 1: 403 the URL is no longer valid', 'x 2: 403 the URL is no longer valid']);
  });

  it('is broken off at its time-out and tried again, even if its handler doesn’t listen', async () => {
    outbox.deliver(
      'q',
      handler(({ attempt }) => (attempt === 1 ? new Promise<Outcome>(() => undefined) : Promise.resolve(DELIVERED)), {
        timeoutMs: 20,
      }),
    );
    const id = await outbox.addAlone({ queue: 'q', payload: 'x' });
    await waitFor(async () => (await stateOf(id)) === 'delivered', { timeoutMs: 10_000 });
    expect((await outbox.attempts(id))[0]).toMatchObject({ result: 'retry', words: 'the attempt took too long' });
  });

  it('is tried no earlier than the handler wants', async () => {
    outbox.deliver(
      'q',
      handler(async () => ({ tag: 'retry', words: 'slow down', status: 429, afterMs: 3_600_000 })),
    );
    const id = await outbox.addAlone({ queue: 'q', payload: 'x' });
    await waitFor(async () => (await outbox.attempts(id))[0]?.result !== undefined);
    const { createdAt, dueAt } = (await outbox.get(id)) ?? expect.unreachable();
    expect(dueAt.getTime() - createdAt.getTime()).toBeGreaterThanOrEqual(3_600_000);
  });
});

describe('a message that kills its instances', () => {
  const HOUR_MS = 3_600_000;
  const slow: Pace = { firstMs: HOUR_MS, maxMs: 1_000 * HOUR_MS, factor: 4 };
  const pauseOf = async (id: string) => ((await outbox.get(id))?.dueAt.getTime() ?? 0) - Date.now();

  it('is tried at once after the first death, and then after pauses that grow', async () => {
    const id = await outbox.addAlone({ queue: 'q', payload: 'x' });
    expect(await dieWith(1, slow)).toBe(1);
    await waitFor(async () => (await dieWith(1, slow)) === 1);
    const pausesMs: number[] = [];
    for (let deaths = 2; deaths <= 4; deaths++) {
      await waitFor(async () => {
        expect(await dieWith(1, slow)).toBe(0);
        return (await outbox.get(id))?.inProgress === false;
      });
      pausesMs.push(await pauseOf(id));
      expect(await outbox.replay(id)).toBe('hastened');
      expect(await dieWith(1, slow)).toBe(1);
    }
    for (const [index, pauseMs] of pausesMs.entries()) {
      const longestMs = HOUR_MS * 4 ** index;
      expect(pauseMs).toBeGreaterThan(longestMs / 2 - 60_000);
      expect(pauseMs).toBeLessThanOrEqual(longestMs);
    }
    expect(await outbox.get(id)).toMatchObject({ attempts: 5 });
  });

  it('is dead when its time is over, and its owner is told, without another attempt', async () => {
    const id = await outbox.addAlone({ queue: 'q', payload: 'x', keepTryingMs: 1 });
    for (let deaths = 0; deaths < 2; deaths++) await waitFor(async () => (await dieWith(1)) === 1);
    const told: string[] = [];
    outbox.deliver(
      'q',
      handler(async () => expect.unreachable(), { dead: async (_message, { words }) => void told.push(words) }),
    );
    await waitFor(async () => (await stateOf(id)) === 'dead');
    expect(told).toEqual(['the instances that tried it ended']);
  });

  it('waits no longer than others once an attempt has ended by itself', async () => {
    const id = await outbox.addAlone({ queue: 'q', payload: 'x' });
    for (let deaths = 0; deaths < 2; deaths++) await waitFor(async () => (await dieWith(1)) === 1);
    const deathsSeen: number[] = [];
    outbox.deliver(
      'q',
      handler(async ({ deaths }) => {
        deathsSeen.push(deaths);
        return deathsSeen.length === 1 ? LATER : DELIVERED;
      }),
    );
    await settled(id);
    expect(deathsSeen).toEqual([2, 0]);
  });
});

it('a message whose handler always throws waits longer after each attempt', async () => {
  const pace = { firstMs: 3_600_000, maxMs: 360_000_000, factor: 4 };
  outbox.deliver(
    'q',
    handler(() => Promise.reject(new Error('always')), { pace }),
  );
  const id = await outbox.addAlone({ queue: 'q', payload: 'x' });
  const pausesMs: number[] = [];
  for (let attempt = 1; attempt <= 3; attempt++) {
    await waitFor(async () => (await outbox.attempts(id))[attempt - 1]?.result === 'retry');
    pausesMs.push(((await outbox.get(id))?.dueAt.getTime() ?? 0) - Date.now());
    await outbox.replay(id);
  }
  for (const [index, pauseMs] of pausesMs.entries())
    expect(pauseMs).toBeGreaterThan((pace.firstMs * pace.factor ** index) / 2 - 60_000);
});

describe('a destination that hangs', () => {
  it('holds up no other: it takes only its part of the queue', async () => {
    const got: string[] = [];
    let hanging = 0;
    let most = 0;
    let finish: () => void = () => undefined;
    const end = new Promise<void>((resolve) => (finish = resolve));
    outbox.deliver(
      'q',
      handler(
        async ({ payload }) => {
          if (payload === 'hangs') {
            most = Math.max(most, ++hanging);
            await end;
            hanging -= 1;
          }
          got.push(payload);
          return DELIVERED;
        },
        { concurrency: 4, perDestination: 2 },
      ),
    );
    await inTransaction(async (transaction) => {
      for (let i = 0; i < 12; i++)
        await outbox.add(transaction, { queue: 'q', destination: 'slow.example', payload: 'hangs' });
      for (let i = 0; i < 3; i++)
        await outbox.add(transaction, { queue: 'q', destination: 'quick.example', payload: 'quick' });
      for (let i = 0; i < 5; i++) await outbox.add(transaction, { queue: 'q', payload: 'nowhere' });
    });
    await waitFor(() => got.length === 8);
    expect(new Set(got)).toEqual(new Set(['quick', 'nowhere']));
    expect(most).toBe(2);
    finish();
    await waitFor(() => got.length === 20);
    expect(most).toBe(2);
  });
});

describe('a replay', () => {
  const oneAttempt = async (outcome: Outcome): Promise<string> => {
    outbox.deliver(
      'q',
      handler(async ({ payload }) => (payload === 'again' ? DELIVERED : outcome)),
    );
    const id = await outbox.addAlone({ queue: 'q', scope: 'acme', payload: 'x' });
    await waitFor(async () => (await outbox.attempts(id))[0]?.result !== undefined);
    return id;
  };

  it('delivers a dead message again under its id, with a new payload if there is one', async () => {
    const id = await oneAttempt({ tag: 'dead', words: 'gone' });
    expect(await outbox.replay(id, { payload: 'again' })).toBe('replayed');
    await waitFor(async () => (await stateOf(id)) === 'delivered');
    expect(await outbox.attempts(id)).toMatchObject([{ result: 'dead' }, { result: 'delivered' }]);
  });

  it('begins without what earlier attempts noted', async () => {
    const notes: (string | undefined)[] = [];
    outbox.deliver(
      'q',
      handler(async ({ note }, context) => {
        notes.push(note);
        await context.note('half done');
        return notes.length === 1 ? { tag: 'dead', words: 'never' } : DELIVERED;
      }),
    );
    const id = await outbox.addAlone({ queue: 'q', payload: 'x' });
    await settled(id);
    await outbox.replay(id);
    await waitFor(async () => (await stateOf(id)) === 'delivered');
    expect(notes).toEqual([undefined, undefined]);
  });

  it('delivers a delivered message once more', async () => {
    const id = await oneAttempt(DELIVERED);
    await settled(id);
    expect(await outbox.replay(id)).toBe('replayed');
    await waitFor(async () => (await outbox.attempts(id))[1]?.result === 'delivered');
  });

  it('hastens a message that waits', async () => {
    const id = await oneAttempt({ tag: 'retry', words: 'later', afterMs: 3_600_000 });
    expect(await outbox.replay(id, { payload: 'again' })).toBe('hastened');
    await waitFor(async () => (await stateOf(id)) === 'delivered');
  });

  it('knows no message of another scope', async () => {
    const id = await oneAttempt(DELIVERED);
    expect(await outbox.replay(id, { scope: 'other' })).toBe('unknown');
    expect(await outbox.replay('no-such-message')).toBe('unknown');
  });

  it('goes behind the messages of its key that were added since', async () => {
    const got: string[] = [];
    outbox.deliver(
      'q',
      handler(async ({ payload }) => {
        got.push(payload);
        return payload === 'first' && got.length === 1 ? { tag: 'dead', words: 'never' } : DELIVERED;
      }),
    );
    const id = await outbox.addAlone({ queue: 'q', key: 'k', payload: 'first' });
    await settled(id);
    await inTransaction(async (transaction) => {
      await outbox.add(transaction, { queue: 'q', key: 'k', payload: 'second' });
    });
    await waitFor(() => got.length === 2);
    await outbox.replay(id);
    await waitFor(() => got.length === 3);
    expect(got).toEqual(['first', 'second', 'first']);
  });
});

it('an attempt that a stopping instance breaks off doesn’t count, and another instance makes it again', async () => {
  let begun = false;
  outbox.deliver(
    'q',
    handler(
      (_message, { signal }) =>
        new Promise((_resolve, reject) => {
          begun = true;
          signal.addEventListener('abort', () => reject(new Error('broken off')));
        }),
    ),
  );
  const id = await outbox.addAlone({ queue: 'q', payload: 'x' });
  await waitFor(() => begun);
  await outbox.close();
  outbox = await open();
  expect(await outbox.get(id)).toMatchObject({ state: 'waiting', attempts: 0, inProgress: false });
  collecting(outbox);
  await settled(id);
  expect(await outbox.attempts(id)).toMatchObject([
    { result: 'released', words: 'the instance stops' },
    { result: 'delivered' },
  ]);
});

it('the list has pages, and shows each scope its own messages without their payloads', async () => {
  for (const scope of ['acme', 'other', 'acme', 'acme'])
    await outbox.addAlone({ queue: 'q', scope, payload: 'secret' });
  const first = await outbox.list({ scope: 'acme', limit: 2 });
  const rest = await outbox.list({ scope: 'acme', limit: 2, after: first[1]?.place ?? 0n });
  expect([first.length, rest.length]).toEqual([2, 1]);
  expect(new Set([...first, ...rest].map(({ id }) => id)).size).toBe(3);
  expect(Object.values(first[0] ?? {})).not.toContain('secret');
  const ids = [first[0]?.id ?? '', rest[0]?.id ?? '', 'unknown'];
  expect((await outbox.log({ ids, scope: 'acme' })).map(({ id, log }) => [id, log])).toEqual([
    [ids[0], []],
    [ids[1], []],
  ]);
  expect(await outbox.log({ ids, scope: 'other' })).toEqual([]);
  expect(await outbox.list({ state: 'dead' })).toEqual([]);
});

it('two handlers for one queue are a mistake of the owner', () => {
  collecting(outbox);
  expect(() => collecting(outbox)).toThrow('has a handler already');
});

it('an owner whose name would need quoting is refused', async () => {
  await expect(open({ owner: 'a"; DROP' })).rejects.toThrow(RangeError);
});
