import type { Redis } from 'ioredis';

/**
 * `<epoch> <value>`. An epoch is the time of the claim in milliseconds, or one more than the last epoch of the name: it
 * grows even when Redis has lost everything.
 */
const NEXT_EPOCH = `
local time = redis.call('TIME')
local epoch = math.max(time[1] * 1000 + math.floor(time[2] / 1000), tonumber(redis.call('GET', KEYS[2]) or '0') + 1)
local text = string.format('%.0f', epoch)
redis.call('SET', KEYS[2], text, 'EX', 86400)
redis.call('SET', KEYS[1], text .. ' ' .. ARGV[1], 'PX', ARGV[2])
return 'mine ' .. text`;

const CLAIM = `
local current = redis.call('GET', KEYS[1])
if current and string.match(current, '^%d+') ~= ARGV[3] then return current end
${NEXT_EPOCH}`;

const RENEW = `
local current = redis.call('GET', KEYS[1])
local epoch = current and string.match(current, '^%d+') or redis.call('GET', KEYS[2]) or '0'
if tonumber(epoch) > tonumber(ARGV[3]) then return 0 end
redis.call('SET', KEYS[2], ARGV[3], 'EX', 86400)
redis.call('SET', KEYS[1], ARGV[3] .. ' ' .. ARGV[1], 'PX', ARGV[2])
return 1`;

const RELEASE = `
local current = redis.call('GET', KEYS[1])
if current and string.match(current, '^%d+') == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`;

const MAX_NAMES_AT_ONCE = 500;
const EPOCH_SUFFIX = ':epoch';

export interface FencedRecord {
  readonly epoch: bigint;
  readonly value: string;
}

export type Claim = { readonly tag: 'mine'; readonly epoch: bigint } | ({ readonly tag: 'held' } & FencedRecord);

const recordIn = (text: string): FencedRecord => {
  const blank = text.indexOf(' ');
  return { epoch: BigInt(text.slice(0, blank)), value: text.slice(blank + 1) };
};

/**
 * Who holds what, for all instances. Each claim of a name has an epoch greater than all before it, and a record is only
 * ever changed or removed by the holder of its own or a later epoch. Unrenewed records go after a time.
 */
export class FencedRecords {
  constructor(
    private readonly redis: Redis,
    private readonly options: { readonly prefix: string; readonly ttlMs: number },
  ) {}

  /** Takes the name from whoever has it: the newest holder is the right one. */
  async take(name: string, value: string): Promise<bigint> {
    const [key, epochKey] = this.#keys(name);
    return epochIn(await this.redis.eval(NEXT_EPOCH, 2, key, epochKey, value, this.options.ttlMs));
  }

  /** Takes the name if nobody has it, or the holder of `insteadOf`, which the caller knows to be gone. */
  async claim(name: string, value: string, insteadOf?: bigint): Promise<Claim> {
    const [key, epochKey] = this.#keys(name);
    const { ttlMs } = this.options;
    const answer = await this.redis.eval(CLAIM, 2, key, epochKey, value, ttlMs, String(insteadOf ?? 'none'));
    if (typeof answer === 'string' && !answer.startsWith('mine ')) return { tag: 'held', ...recordIn(answer) };
    return { tag: 'mine', epoch: epochIn(answer) };
  }

  /** Writes anew what Redis has lost, too. False for each that somebody else has taken. */
  async renew(records: readonly ({ readonly name: string } & FencedRecord)[]): Promise<boolean[]> {
    if (records.length === 0) return [];
    const pipeline = this.redis.pipeline();
    for (const { name, epoch, value } of records)
      pipeline.eval(RENEW, 2, ...this.#keys(name), value, this.options.ttlMs, String(epoch));
    const answers = (await pipeline.exec()) ?? [];
    return answers.map(([error, answer]) => {
      if (error !== null) throw error;
      return answer === 1;
    });
  }

  /** False when the name isn't held with this epoch any more. */
  async release(name: string, epoch: bigint): Promise<boolean> {
    return (await this.redis.eval(RELEASE, 1, this.#keys(name)[0], String(epoch))) === 1;
  }

  async read(name: string): Promise<FencedRecord | undefined> {
    return (await this.readAll([name]))[0];
  }

  async readAll(names: readonly string[]): Promise<(FencedRecord | undefined)[]> {
    const records: (FencedRecord | undefined)[] = [];
    for (let from = 0; from < names.length; from += MAX_NAMES_AT_ONCE) {
      const keys = names.slice(from, from + MAX_NAMES_AT_ONCE).map((name) => this.#keys(name)[0]);
      for (const text of await this.redis.mget(keys)) records.push(text === null ? undefined : recordIn(text));
    }
    return records;
  }

  /** The names of all records. Looks through the whole database: not for every second. */
  async names(): Promise<string[]> {
    const names = new Set<string>();
    const start = `${this.options.prefix}:`;
    let cursor = '0';
    do {
      const [next, keys] = await this.redis.scan(cursor, 'MATCH', `${start}*`, 'COUNT', MAX_NAMES_AT_ONCE);
      for (const key of keys) if (!key.endsWith(EPOCH_SUFFIX)) names.add(key.slice(start.length));
      cursor = next;
    } while (cursor !== '0');
    return [...names];
  }

  #keys(name: string): [key: string, epochKey: string] {
    const key = `${this.options.prefix}:${name}`;
    return [key, `${key}${EPOCH_SUFFIX}`];
  }
}

const epochIn = (answer: unknown): bigint => {
  if (typeof answer !== 'string') throw new TypeError('Redis answered with no epoch');
  return BigInt(answer.slice('mine '.length));
};
