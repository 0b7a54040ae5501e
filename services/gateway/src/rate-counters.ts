import { within } from '@weir/timing';
import { z } from 'zod';

/** The part of a Redis client that the counters need. */
export interface CounterStore {
  readonly status: string;
  eval(script: string, numberOfKeys: number, ...args: (string | number)[]): Promise<unknown>;
}

/** How many times something happened in the current window, and when the window ends. */
export interface Count {
  current: number;
  ttlMs: number;
}

const REDIS_DEADLINE_MS = 250;
/** How long to count locally after Redis failed, before asking it again. */
const LOCAL_PAUSE_MS = 1_000;
const MAX_LOCAL_KEYS = 50_000;

const INCREMENT = `
local current = redis.call('INCR', KEYS[1])
local ttl = redis.call('PTTL', KEYS[1])
if ttl < 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  ttl = tonumber(ARGV[1])
end
return { current, ttl }`;

const incrementReply = z.tuple([z.number().int(), z.number().int()]);

/**
 * Counts in fixed windows, in Redis, so that all instances count together. While Redis can't be reached, each instance
 * counts for itself: the limits get looser, but requests still get through.
 */
export class RateCounters {
  readonly #local = new Map<string, { current: number; endsAtMs: number }>();
  #localUntilMs = 0;

  constructor(
    private readonly ports: {
      redis: CounterStore;
      nowMs: () => number;
      onFallback: (error: unknown) => void;
    },
  ) {}

  async increment(key: string, windowMs: number): Promise<Count> {
    const { redis, nowMs, onFallback } = this.ports;
    if (redis.status !== 'ready' || nowMs() < this.#localUntilMs) return this.#incrementLocally(key, windowMs);
    try {
      const reply = await within(REDIS_DEADLINE_MS, redis.eval(INCREMENT, 1, `gateway:rate:${key}`, windowMs));
      const [current, ttlMs] = incrementReply.parse(reply);
      return { current, ttlMs };
    } catch (error) {
      if (nowMs() >= this.#localUntilMs) onFallback(error);
      this.#localUntilMs = nowMs() + LOCAL_PAUSE_MS;
      return this.#incrementLocally(key, windowMs);
    }
  }

  #incrementLocally(key: string, windowMs: number): Count {
    const now = this.ports.nowMs();
    const known = this.#local.get(key);
    const entry = known !== undefined && known.endsAtMs > now ? known : { current: 0, endsAtMs: now + windowMs };
    entry.current += 1;
    // Deleting and setting again keeps the map in the order of last use.
    this.#local.delete(key);
    this.#local.set(key, entry);
    if (this.#local.size > MAX_LOCAL_KEYS) {
      const oldest = this.#local.keys().next();
      if (oldest.done !== true) this.#local.delete(oldest.value);
    }
    return { current: entry.current, ttlMs: entry.endsAtMs - now };
  }
}
