import type { Redis } from 'ioredis';

/** What leases need of a Redis client. */
export type LeaseStore = Pick<Redis, 'eval' | 'pipeline' | 'mget' | 'zrange' | 'scanStream'>;

/** One name, its owner and what the owner says of it. */
export interface LeaseRecord {
  readonly name: string;
  readonly epoch: bigint;
  readonly owner: string;
  readonly value: string;
}

export type Claim =
  { readonly tag: 'mine'; readonly epoch: bigint } | { readonly tag: 'held'; readonly by: LeaseRecord };

export interface LeasesOptions {
  /** Begins every key of these leases. */
  readonly prefix: string;
  /** Who owns what is claimed here; without blanks. */
  readonly owner: string;
  /** A lease that its owner doesn't renew ends after this time. */
  readonly ttlMs: number;
  /** The group that a name is listed with; all names are in one group unless told otherwise. */
  readonly groupOf?: (name: string) => string;
}

/**
 * Everything that may happen to a lease, each at once. A record is `<epoch> <owner> <value>`. An epoch is the time of the
 * claim in milliseconds, or one more than the last epoch of the name: it grows even when Redis has lost everything. A
 * group tells of each name when its lease ends, so that it forgets by itself what nobody renews.
 *
 * KEYS: record, last epoch, group. ARGV: operation, name, owner, value, TTL in milliseconds, epoch (or empty).
 * Answers the lease's epoch, or '' when it isn't the caller's; a claim of a held name answers the record.
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
 * Who owns what, for all instances, in Redis. Each claim of a name has an epoch greater than all before it, and a lease
 * is only ever changed or ended by the owner of its own or a later epoch: an owner that was paused and comes back finds
 * out by its next renewal that it has lost the name, and can disturb nobody. A lease that Redis has lost is written
 * anew by its owner's renewal. Every call throws when Redis can't be reached.
 */
export class Leases {
  constructor(
    private readonly redis: LeaseStore,
    private readonly options: LeasesOptions,
  ) {
    if (options.owner === '' || options.owner.includes(' ')) throw new TypeError('an owner is a word without blanks');
  }

  /** Takes the name if nobody has it, or the lease with the epoch `insteadOf`, whose owner the caller knows to be gone. */
  async claim(name: string, value = '', insteadOf?: bigint): Promise<Claim> {
    const answer = await this.#run('claim', name, value, insteadOf);
    return answer.includes(' ') ? { tag: 'held', by: recordIn(name, answer) } : { tag: 'mine', epoch: BigInt(answer) };
  }

  /** Takes the name from whoever has it: the newest owner is the right one. */
  async take(name: string, value = ''): Promise<bigint> {
    return BigInt(await this.#run('take', name, value));
  }

  /** @returns for each lease whether it is still the caller's */
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

  /** @returns false when the name isn't held with this epoch any more */
  async release(name: string, epoch: bigint): Promise<boolean> {
    return (await this.#run('release', name, '', epoch)) !== '';
  }

  async find(name: string): Promise<LeaseRecord | undefined> {
    return (await this.findAll([name]))[0];
  }

  /** In the order of the names; undefined for each that nobody holds. */
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

  /** All leases of a group. */
  async list(group = ''): Promise<LeaseRecord[]> {
    const records = await this.findAll(await this.redis.zrange(this.#groupKey(group), '0', '-1'));
    return records.filter((record) => record !== undefined);
  }

  /** The groups that have leases. Looks through the whole database: not for every second. */
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

/** Redis reads these characters of a pattern as wildcards. */
const escaped = (text: string): string => text.replace(/[\\*?[\]]/g, '\\$&');
