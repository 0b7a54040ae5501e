import { create, fromJsonString, toJsonString, type MessageInitShape } from '@bufbuild/protobuf';
import { StreamInfoSchema, type StreamInfo } from '@weir/contracts';
import type { Redis } from 'ioredis';

/** A record that no node refreshes is gone after this time. */
const RECORD_TTL_MS = 10_000;

// A record is `<epoch> <slot> <StreamInfo as JSON>`. An epoch is the time of the claim in milliseconds, or one more
// than the last epoch of the name: it grows even when Redis has lost everything.
const CLAIM = `
local current = redis.call('GET', KEYS[1])
if current then
  local epoch = string.match(current, '^(%d+) ')
  if epoch ~= ARGV[4] then return current end
end
local time = redis.call('TIME')
local epoch = math.max(time[1] * 1000 + math.floor(time[2] / 1000), tonumber(redis.call('GET', KEYS[2]) or '0') + 1)
local text = string.format('%.0f', epoch)
redis.call('SET', KEYS[2], text, 'EX', 86400)
redis.call('SET', KEYS[1], text .. ' ' .. ARGV[1] .. ' ' .. ARGV[2], 'PX', ARGV[3])
redis.call('SADD', KEYS[3], KEYS[1])
return 'claimed ' .. text`;

const WRITE = `
local current = redis.call('GET', KEYS[1])
if current and tonumber(string.match(current, '^(%d+) ')) > tonumber(ARGV[1]) then return 0 end
if not current and tonumber(redis.call('GET', KEYS[2]) or '0') > tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2] .. ' ' .. ARGV[3], 'PX', ARGV[4])
redis.call('SET', KEYS[2], ARGV[1], 'EX', 86400)
redis.call('SADD', KEYS[3], KEYS[1])
return 1`;

const RELEASE = `
local current = redis.call('GET', KEYS[1])
if current and string.match(current, '^(%d+) ') == ARGV[1] then
  redis.call('DEL', KEYS[1])
  redis.call('SREM', KEYS[2], KEYS[1])
  return 1
end
return 0`;

export type Claim = { tag: 'claimed'; epoch: bigint } | { tag: 'taken'; by: StreamInfo };

interface RegistryRecord {
  epoch: bigint;
  slot: string;
  info: StreamInfo;
}

/**
 * Who publishes which stream, in Redis, for all nodes. Every claim of a name has an epoch greater than all before it;
 * a record is only ever overwritten or removed by the holder of its own or a later epoch.
 */
export class StreamRegistry {
  /**
   * @param slot names the place that only one node at a time can fill (host and media port), so that a node which
   * takes the place of a dead one knows the dead one's records
   */
  constructor(
    private readonly redis: Redis,
    private readonly slot: string,
  ) {}

  /** @param replacing the epoch of a record that may be overwritten */
  async claim(info: MessageInitShape<typeof StreamInfoSchema>, replacing?: bigint): Promise<Claim> {
    const keys = keysOf(info.tenant ?? '', info.streamName ?? '');
    const result = String(
      await this.redis.eval(
        CLAIM,
        3,
        keys.record,
        keys.epoch,
        keys.tenant,
        this.slot,
        toJsonString(StreamInfoSchema, create(StreamInfoSchema, info)),
        RECORD_TTL_MS,
        replacing === undefined ? '' : String(replacing),
      ),
    );
    if (result.startsWith('claimed ')) return { tag: 'claimed', epoch: BigInt(result.slice('claimed '.length)) };
    return { tag: 'taken', by: parseRecord(result).info };
  }

  /**
   * Writes the stream's present state and keeps its record alive.
   * @returns false when the name has gone to a later epoch
   */
  async write(info: StreamInfo): Promise<boolean> {
    const keys = keysOf(info.tenant, info.streamName);
    const json = toJsonString(StreamInfoSchema, info);
    const result = await this.redis.eval(
      WRITE,
      3,
      keys.record,
      keys.epoch,
      keys.tenant,
      String(info.epoch),
      this.slot,
      json,
      RECORD_TTL_MS,
    );
    return result === 1;
  }

  async release(tenant: string, streamName: string, epoch: bigint): Promise<void> {
    const keys = keysOf(tenant, streamName);
    await this.redis.eval(RELEASE, 2, keys.record, keys.tenant, String(epoch));
  }

  async find(tenant: string, streamName: string): Promise<StreamInfo | undefined> {
    const record = await this.redis.get(keysOf(tenant, streamName).record);
    return record === null ? undefined : parseRecord(record).info;
  }

  async list(tenant: string): Promise<StreamInfo[]> {
    return (await this.records(tenantKey(tenant))).map(({ info }) => info);
  }

  /** Removes what an earlier process in this node's place has left behind. */
  async removeLeftovers(nodeId: string): Promise<StreamInfo[]> {
    const leftovers: StreamInfo[] = [];
    for await (const tenantKeys of this.redis.scanStream({ match: tenantKey('*'), count: 100 }))
      for (const key of tenantKeys as string[])
        for (const { slot, info, epoch } of await this.records(key))
          if (slot === this.slot && info.nodeId !== nodeId) {
            await this.release(info.tenant, info.streamName, epoch);
            leftovers.push(info);
          }
    return leftovers;
  }

  private async records(key: string): Promise<RegistryRecord[]> {
    const names = await this.redis.smembers(key);
    if (names.length === 0) return [];
    const texts = await this.redis.mget(names);
    const expired = names.filter((_name, index) => texts[index] === null);
    if (expired.length > 0) await this.redis.srem(key, ...expired);
    return texts.filter((text) => text != null).map(parseRecord);
  }
}

const tenantKey = (tenant: string) => `weir:streams:${tenant}`;

const keysOf = (tenant: string, streamName: string) => ({
  record: `weir:stream:${tenant}:${streamName}`,
  epoch: `weir:stream-epoch:${tenant}:${streamName}`,
  tenant: tenantKey(tenant),
});

function parseRecord(text: string): RegistryRecord {
  const [epochText = '', slot = ''] = text.split(' ', 2);
  const info = fromJsonString(StreamInfoSchema, text.slice(epochText.length + slot.length + 2), {
    ignoreUnknownFields: true,
  });
  const epoch = BigInt(epochText);
  return { epoch, slot, info: { ...info, epoch } };
}
