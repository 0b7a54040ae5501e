import { describe, expect, it } from 'vitest';
import { RateCounters, type CounterStore } from './rate-counters.js';

const MINUTE_MS = 60_000;

describe('counters without Redis', () => {
  const countersWith = (redis: CounterStore) => {
    const clock = { nowMs: 0 };
    const fallbacks: unknown[] = [];
    const counters = new RateCounters({
      redis,
      nowMs: () => clock.nowMs,
      onFallback: (error) => fallbacks.push(error),
    });
    return { counters, clock, fallbacks };
  };
  const down: CounterStore = { status: 'reconnecting', eval: () => Promise.reject(new Error('not connected')) };

  it('count in windows and start again with each', async () => {
    const { counters, clock } = countersWith(down);
    expect(await counters.increment('a', MINUTE_MS)).toEqual({ current: 1, ttlMs: 60_000 });
    clock.nowMs = 59_999;
    expect(await counters.increment('a', MINUTE_MS)).toEqual({ current: 2, ttlMs: 1 });
    expect(await counters.increment('b', MINUTE_MS)).toEqual({ current: 1, ttlMs: 60_000 });
    clock.nowMs = 60_000;
    expect(await counters.increment('a', MINUTE_MS)).toEqual({ current: 1, ttlMs: 60_000 });
  });

  it('forget the address that was seen longest ago when there are too many', async () => {
    const { counters } = countersWith(down);
    await counters.increment('first', MINUTE_MS);
    await counters.increment('second', MINUTE_MS);
    await counters.increment('first', MINUTE_MS);
    for (let count = 0; count < 49_999; count += 1) await counters.increment(`other-${count}`, MINUTE_MS);
    expect((await counters.increment('first', MINUTE_MS)).current).toBe(3);
    expect((await counters.increment('second', MINUTE_MS)).current).toBe(1);
  });

  it('do not wait for a Redis that does not answer, and do not ask it again for a second', async () => {
    let asked = 0;
    const { counters, clock, fallbacks } = countersWith({
      status: 'ready',
      eval: () => {
        asked += 1;
        return new Promise(() => undefined);
      },
    });
    expect((await counters.increment('a', MINUTE_MS)).current).toBe(1);
    expect((await counters.increment('a', MINUTE_MS)).current).toBe(2);
    expect([asked, fallbacks.length]).toEqual([1, 1]);
    clock.nowMs = 1_000;
    expect((await counters.increment('a', MINUTE_MS)).current).toBe(3);
    expect(asked).toBe(2);
  });

  it('ignore an answer that is no count', async () => {
    const { counters, fallbacks } = countersWith({ status: 'ready', eval: () => Promise.resolve(['1', null]) });
    expect((await counters.increment('a', MINUTE_MS)).current).toBe(1);
    expect(fallbacks).toHaveLength(1);
  });
});
