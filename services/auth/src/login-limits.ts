import { createHash } from 'node:crypto';
import { ErrorCode, WeirError } from '@weir/contracts';
import type { Redis } from 'ioredis';
import ipaddr from 'ipaddr.js';

/** How many attempts from one address may fail before its next one must wait. */
export interface LoginLimitOptions {
  /** For one user name. */
  readonly failuresPerUser: number;
  /** For all user names together. */
  readonly failuresPerAddress: number;
}

/** Whether an attempt may proceed or must wait. */
export type Admission = { readonly tag: 'admitted' } | { readonly tag: 'waiting'; readonly retryAfterMs: number };

const WINDOW_MS = 15 * 60_000;
const FIRST_WAIT_MS = 2_000;
const MAX_WAIT_MS = 15 * 60_000;
/** A user name that fails this many times as often from all addresses together is being guessed from many of them. */
const DISTRIBUTED_FACTOR = 10;
/** Each of these addresses then has one attempt before it must wait: the right password needs no second one. */
const FREE_WHEN_DISTRIBUTED = 1;

/**
 * An attempt is counted before its password is checked, so that parallel attempts gain nothing; a success takes its
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

/** KEYS: count. ARGV: window (ms). Returns how many attempts the window holds. */
const COUNT = `
local count = redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return count`;

/** KEYS: count, wait. Takes one attempt back, together with the wait that it caused. */
const TAKE_BACK = `
if redis.call('EXISTS', KEYS[1]) == 1 and redis.call('DECR', KEYS[1]) <= 0 then redis.call('DEL', KEYS[1]) end
redis.call('DEL', KEYS[2])
return 0`;

type Keys = [count: string, wait: string];

const keysOf = (kind: 'user' | 'address' | 'pair', name: string): Keys => {
  const digest = createHash('sha256').update(name).digest('base64url');
  return [`auth:login:{${kind}:${digest}}:count`, `auth:login:{${kind}:${digest}}:wait`];
};

const pairOf = (username: string, address: string): string => JSON.stringify([networkOf(address), username]);

/** One household has one counter: an IPv6 subscriber has at least a /64. */
export const networkOf = (address: string): string => {
  if (!ipaddr.isValid(address)) return address;
  const parsed = ipaddr.process(address);
  return parsed instanceof ipaddr.IPv4 ? parsed.toString() : parsed.parts.slice(0, 4).join(':');
};

/**
 * Slows guessing down, for all instances together. Only an address that fails too often must wait: attempts are counted
 * per address, and per user name at an address. A name alone never makes anybody wait, because whoever knows it could
 * then lock its owner out. All counts expire a quarter of an hour after the last attempt. Every method throws
 * UNAVAILABLE without Redis.
 */
export class LoginLimits {
  constructor(
    private readonly redis: Pick<Redis, 'eval' | 'del' | 'pttl'>,
    private readonly options: LoginLimitOptions,
  ) {}

  async admit(username: string, address: string): Promise<Admission> {
    const { failuresPerAddress, failuresPerUser } = this.options;
    const fromAddress = await this.#admit(keysOf('address', networkOf(address)), failuresPerAddress);
    if (fromAddress.tag === 'waiting') return fromAddress;
    const [userCount] = keysOf('user', username);
    const attempts = Number(await this.#ask(() => this.redis.eval(COUNT, 1, userCount, WINDOW_MS)));
    const isDistributed = attempts > failuresPerUser * DISTRIBUTED_FACTOR;
    const free = isDistributed ? FREE_WHEN_DISTRIBUTED : failuresPerUser;
    return this.#admit(keysOf('pair', pairOf(username, address)), free);
  }

  /** How long attempts must wait, without counting one: for credentials that are counted only when they are wrong. */
  async waitOf(name: string, address: string): Promise<Admission> {
    const keys = [keysOf('address', networkOf(address))[1], keysOf('pair', pairOf(name, address))[1]];
    const waits = await Promise.all(keys.map((key) => this.#ask(() => this.redis.pttl(key))));
    const retryAfterMs = Math.max(...waits);
    return retryAfterMs > 0 ? { tag: 'waiting', retryAfterMs } : { tag: 'admitted' };
  }

  /**
   * The pair starts afresh. The others get back only this attempt, because an attacker could otherwise clear them by
   * logging in to an account of its own.
   */
  async succeeded(username: string, address: string): Promise<void> {
    await this.#ask(() => this.redis.del(...keysOf('pair', pairOf(username, address))));
    await this.#ask(() => this.redis.eval(TAKE_BACK, 2, ...keysOf('address', networkOf(address))));
    await this.#ask(() => this.redis.eval(TAKE_BACK, 2, ...keysOf('user', username)));
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
      throw new WeirError(
        ErrorCode.UNAVAILABLE,
        "Log-in attempts can't be counted at the moment; try again later",
        {},
        { cause },
      );
    }
  }
}
