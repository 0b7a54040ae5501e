import { createHash } from 'node:crypto';
import { ErrorCode, WeirError } from '@weir/contracts';
import type { Redis } from 'ioredis';
import ipaddr from 'ipaddr.js';

/** Attempts that may fail before the next one has to wait. */
export interface LoginLimitOptions {
  readonly failuresPerUser: number;
  readonly failuresPerAddress: number;
}

/** What an attempt meets: nothing, or a wait. */
export type Admission = { readonly tag: 'admitted' } | { readonly tag: 'waiting'; readonly retryAfterMs: number };

const WINDOW_MS = 15 * 60_000;
const FIRST_WAIT_MS = 2_000;
const MAX_WAIT_MS = 15 * 60_000;

/**
 * An attempt is counted before its password is looked at, so that many at a time gain nothing; a success takes its
 * count back. KEYS: count, wait. ARGV: free attempts, window, first wait, longest wait (ms). Returns the wait, or 0.
 */
const ADMIT = `
local waiting = redis.call('PTTL', KEYS[2])
if waiting > 0 then return waiting end
local count = redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local over = count - tonumber(ARGV[1])
if over >= 0 then
  local wait = math.min(tonumber(ARGV[3]) * 2 ^ math.min(over, 30), tonumber(ARGV[4]))
  redis.call('SET', KEYS[2], '1', 'PX', string.format('%.0f', wait))
end
return 0`;

/** KEYS: count, wait. Takes one attempt back, and with it the wait that it brought about. */
const TAKE_BACK = `
if redis.call('EXISTS', KEYS[1]) == 1 and redis.call('DECR', KEYS[1]) <= 0 then redis.call('DEL', KEYS[1]) end
redis.call('DEL', KEYS[2])
return 0`;

type Keys = [count: string, wait: string];

const keysOf = (kind: 'user' | 'address', name: string): Keys => {
  const digest = createHash('sha256').update(name).digest('base64url');
  return [`auth:login:{${kind}:${digest}}:count`, `auth:login:{${kind}:${digest}}:wait`];
};

/** One household, one counter: an IPv6 subscriber has at least a /64. */
export const networkOf = (address: string): string => {
  if (!ipaddr.isValid(address)) return address;
  const parsed = ipaddr.process(address);
  return parsed instanceof ipaddr.IPv4 ? parsed.toString() : parsed.parts.slice(0, 4).join(':');
};

/** Counts failed log-ins for all instances together. Every method throws UNAVAILABLE without Redis. */
export class LoginLimits {
  constructor(
    private readonly redis: Pick<Redis, 'eval' | 'del'>,
    private readonly options: LoginLimitOptions,
  ) {}

  admitUser(username: string): Promise<Admission> {
    return this.#admit(keysOf('user', username), this.options.failuresPerUser);
  }

  admitAddress(address: string): Promise<Admission> {
    return this.#admit(keysOf('address', networkOf(address)), this.options.failuresPerAddress);
  }

  /** The user starts afresh; the address gets back this one attempt only, or an own account would clear the others. */
  async succeeded(username: string, address: string): Promise<void> {
    await this.#ask(() => this.redis.del(...keysOf('user', username)));
    await this.#ask(() => this.redis.eval(TAKE_BACK, 2, ...keysOf('address', networkOf(address))));
  }

  async #admit(keys: Keys, free: number): Promise<Admission> {
    const reply = await this.#ask(() =>
      this.redis.eval(ADMIT, 2, ...keys, free, WINDOW_MS, FIRST_WAIT_MS, MAX_WAIT_MS),
    );
    const retryAfterMs = Number(reply);
    return retryAfterMs > 0 ? { tag: 'waiting', retryAfterMs } : { tag: 'admitted' };
  }

  async #ask<T>(command: () => Promise<T>): Promise<T> {
    try {
      return await command();
    } catch (cause) {
      throw new WeirError(ErrorCode.UNAVAILABLE, "Log-in attempts can't be counted just now", {}, { cause });
    }
  }
}
