import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';

/** No viewer watches for longer than this without a break. */
const KEPT_S = 30 * 24 * 60 * 60;

/**
 * Counts each stream's discontinuities in Redis, because the numbers at one address mustn't go back, even when a killed
 * service starts again. They can't be made from the time like segment numbers, because players use them as array
 * indexes.
 */
export class Discontinuities {
  constructor(private readonly redis: Pick<Redis, 'set' | 'get' | 'incr' | 'expire'>) {}

  /** The number that was used last; 1 at the beginning. */
  async current(tenant: string, streamName: string): Promise<number> {
    const key = keyOf(tenant, streamName);
    await this.redis.set(key, 1, 'EX', KEPT_S, 'NX');
    await this.redis.expire(key, KEPT_S);
    return Number((await this.redis.get(key)) ?? 1);
  }

  /** Counts one more. */
  async count(tenant: string, streamName: string): Promise<void> {
    const key = keyOf(tenant, streamName);
    await this.redis.incr(key);
    await this.redis.expire(key, KEPT_S);
  }
}

function keyOf(tenant: string, streamName: string): string {
  const stream = createHash('sha256')
    .update(JSON.stringify([tenant, streamName]))
    .digest('base64url');
  return `hls:discontinuities:${stream}`;
}
