import type { Redis } from 'ioredis';

const keyOf = (relayId: string) => `relay-push:holder:${relayId}`;

/** Ours is prolonged, nobody's is taken, another's is left alone. */
const HOLD = `
local holder = redis.call('get', KEYS[1])
if holder == false or holder == ARGV[1] then
  redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
  return 1
end
return 0`;

const RELEASE = `
if redis.call('get', KEYS[1]) == ARGV[1] then
  return redis.call('del', KEYS[1])
end
return 0`;

/** Which instance runs which relay: never two the same. Every call throws when Redis can't be reached. */
export class Holders {
  constructor(
    private readonly redis: Redis,
    private readonly instanceId: string,
    private readonly holdMs: number,
  ) {}

  /** @returns whether the relay is this instance's for the next while */
  async hold(relayId: string): Promise<boolean> {
    return (await this.redis.eval(HOLD, 1, keyOf(relayId), this.instanceId, this.holdMs)) === 1;
  }

  async release(relayId: string): Promise<void> {
    await this.redis.eval(RELEASE, 1, keyOf(relayId), this.instanceId);
  }
}
