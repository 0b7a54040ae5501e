import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';

/** Longer than anybody watches without a break. */
const KEPT_S = 30 * 24 * 60 * 60;

/**
 * Counts each stream's discontinuities in Redis. Players keep their clocks by these numbers, so that they may neither go
 * back nor come again when a killed service begins anew; and they keep them in arrays, so that they can't be made of the
 * time as segments' numbers are.
 */
export class Discontinuities {
  constructor(private readonly redis: Pick<Redis, 'incr' | 'expire'>) {}

  /** The number of one more discontinuity. */
  async next(tenant: string, streamName: string): Promise<number> {
    const stream = createHash('sha256')
      .update(JSON.stringify([tenant, streamName]))
      .digest('base64url');
    const key = `hls:discontinuities:${stream}`;
    const number = await this.redis.incr(key);
    await this.redis.expire(key, KEPT_S);
    return number;
  }
}
