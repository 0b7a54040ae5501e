import type { Redis } from 'ioredis';

/** What leases need of a Redis client. */
export type LeaseStore = Pick<Redis, 'eval' | 'pipeline' | 'mget' | 'zrange' | 'scanStream'>;

/** A name, its owner and the value that the owner stored with it. */
export interface LeaseRecord {
  readonly name: string;
  readonly epoch: bigint;
  readonly owner: string;
  readonly value: string;
}

export type Claim =
  { readonly tag: 'mine'; readonly epoch: bigint } | { readonly tag: 'held'; readonly by: LeaseRecord };

export interface LeasesOptions {
  /** The first part of every key of these leases. */
  readonly prefix: string;
  /** The owner of the leases that are claimed here; without blanks. */
  readonly owner: string;
  /** A lease ends after this time unless its owner renews it. */
  readonly ttlMs: number;
  /** The group that lists a name; by default, all names are in one group. */
  readonly groupOf?: (name: string) => string;
}

/**
 * All operations on a lease, each atomic. A record is `<epoch> <owner> <value>`. An epoch is the time of the claim in
 * milliseconds or, if that is higher, the last epoch of the name plus one, so it grows even when Redis has lost
 * everything. A group stores when the lease of each name ends, so names that nobody renews drop out of it.
 *
 * KEYS: record, last epoch, group. ARGV: operation, name, owner, value, TTL in milliseconds, epoch (or empty).
 * Returns the epoch of the lease, or '' if the lease isn't the caller's. A claim of a name that is held returns the
 * record.
 */
const LEASE = `
local operation, name, owner, value, ttlMs, epoch = unpack(ARGV)
local record = redis.call('GET', KEYS[1])
local held = record and string.match(record, '^%d+')
if operation == 'release' then
  if held ~= epoch then return '' end
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[3], name)
  return epoch
end
local newest = tonumber(held or redis.call('GET', KEYS[2]) or '0')
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
if operation == 'renew' then
  if newest > tonumber(epoch) then return '' end
else
  if operation == 'claim' and held and held ~= epoch then return record end
  epoch = string.format('%.0f', math.max(nowMs, newest + 1))
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', nowMs)
end
redis.call('SET', KEYS[2], epoch, 'EX', 86400)
redis.call('SET', KEYS[1], epoch .. ' ' .. owner .. ' ' .. value, 'PX', ttlMs)
redis.call('ZADD', KEYS[3], nowMs + ttlMs, name)
redis.call('PEXPIRE', KEYS[3], ttlMs)
return epoch`;

const MAX_NAMES_AT_ONCE = 500;

/**
 * Stores in Redis who owns what, for all instances. Each claim of a name gets a higher epoch than all claims before it.
 * Only an owner with the lease's own epoch or a later one can change or end a lease. An owner that was paused therefore
 * learns at its next renewal that it has lost the name, and can't disturb the new owner. If Redis loses a lease, its
 * owner's renewal writes it again. Every call throws if Redis can't be reached.
 */
export class Leases {
  constructor(
    private readonly redis: LeaseStore,
    private readonly options: LeasesOptions,
  ) {
    if (options.owner === '' || options.owner.includes(' ')) throw new TypeError('an owner is a word without blanks');
  }

  /**
   * Takes the name if nobody holds it, or if its lease has the epoch `insteadOf`, whose owner the caller knows to be
   * gone.
   */
  async claim(name: string, value = '', insteadOf?: bigint): Promise<Claim> {
    const answer = await this.#run('claim', name, value, insteadOf);
    return answer.includes(' ') ? { tag: 'held', by: recordIn(name, answer) } : { tag: 'mine', epoch: BigInt(answer) };
  }

  /** Takes the name from whoever holds it: the newest owner is the right one. */
  async take(name: string, value = ''): Promise<bigint> {
    return BigInt(await this.#run('take', name, value));
  }

  /** @returns for each lease, whether the caller still holds it */
  async renew(
    leases: readonly { readonly name: string; readonly epoch: bigint; readonly value?: string }[],
  ): Promise<boolean[]> {
    const kept: boolean[] = [];
    for (let from = 0; from < leases.length; from += MAX_NAMES_AT_ONCE) {
      const pipeline = this.redis.pipeline();
      for (const { name, epoch, value = '' } of leases.slice(from, from + MAX_NAMES_AT_ONCE))
        pipeline.eval(...this.#command('renew', name, value, epoch));
      for (const [error, answer] of (await pipeline.exec()) ?? []) {
        if (error !== null) throw error;
        kept.push(answer !== '');
      }
    }
    return kept;
  }

  /** @returns false if the name is no longer held with this epoch */
  async release(name: string, epoch: bigint): Promise<boolean> {
    return (await this.#run('release', name, '', epoch)) !== '';
  }

  async find(name: string): Promise<LeaseRecord | undefined> {
    return (await this.findAll([name]))[0];
  }

  /** In the order of the names; undefined for each name that nobody holds. */
  async findAll(names: readonly string[]): Promise<(LeaseRecord | undefined)[]> {
    const records: (LeaseRecord | undefined)[] = [];
    for (let from = 0; from < names.length; from += MAX_NAMES_AT_ONCE) {
      const some = names.slice(from, from + MAX_NAMES_AT_ONCE);
      const texts = await this.redis.mget(some.map((name) => this.#recordKey(name)));
      for (const [index, name] of some.entries()) {
        const text = texts[index];
        records.push(typeof text === 'string' ? recordIn(name, text) : undefined);
      }
    }
    return records;
  }

  /** Returns all leases of a group. */
  async list(group = ''): Promise<LeaseRecord[]> {
    const records = await this.findAll(await this.redis.zrange(this.#groupKey(group), '0', '-1'));
    return records.filter((record) => record !== undefined);
  }

  /** Returns the groups that have leases. It scans the whole database, so don't call it every second. */
  async groups(): Promise<string[]> {
    const start = this.#groupKey('');
    const groups = new Set<string>();
    for await (const keys of this.redis.scanStream({ match: `${escaped(start)}*`, count: MAX_NAMES_AT_ONCE }))
      for (const key of keys as string[]) groups.add(key.slice(start.length));
    return [...groups];
  }

  async #run(operation: Operation, name: string, value: string, epoch?: bigint): Promise<string> {
    return String(await this.redis.eval(...this.#command(operation, name, value, epoch)));
  }

  #command(operation: Operation, name: string, value: string, epoch?: bigint) {
    const { prefix, owner, ttlMs, groupOf } = this.options;
    return [
      LEASE,
      3,
      this.#recordKey(name),
      `${prefix}-epoch:${name}`,
      this.#groupKey(groupOf?.(name) ?? ''),
      ...[operation, name, owner, value, String(ttlMs), epoch === undefined ? '' : String(epoch)],
    ] as const;
  }

  #recordKey(name: string): string {
    return `${this.options.prefix}:${name}`;
  }

  #groupKey(group: string): string {
    return `${this.options.prefix}-group:${group}`;
  }
}

type Operation = 'claim' | 'take' | 'renew' | 'release';

function recordIn(name: string, text: string): LeaseRecord {
  const afterEpoch = text.indexOf(' ');
  const afterOwner = text.indexOf(' ', afterEpoch + 1);
  return {
    name,
    epoch: BigInt(text.slice(0, afterEpoch)),
    owner: text.slice(afterEpoch + 1, afterOwner),
    value: text.slice(afterOwner + 1),
  };
}

/** Redis treats these characters as wildcards in a pattern. */
const escaped = (text: string): string => text.replace(/[\\*?[\]]/g, '\\$&');
