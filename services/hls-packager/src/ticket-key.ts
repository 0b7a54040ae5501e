import { createHash, randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { Tickets } from './tickets.js';

const REDIS_KEY = 'hls:ticket-key';

/** The key that all instances share: the setting's, or one that the first instance stores in Redis. */
export class TicketKey {
  #tickets: Promise<Tickets> | undefined;

  constructor(
    private readonly redis: Pick<Redis, 'set' | 'get'>,
    private readonly secret: string | undefined,
  ) {}

  /** Rejects when Redis doesn't answer. The next call tries again. */
  tickets(): Promise<Tickets> {
    this.#tickets ??= this.#load().catch((error: unknown) => {
      this.#tickets = undefined;
      throw error;
    });
    return this.#tickets;
  }

  async #load(): Promise<Tickets> {
    if (this.secret !== undefined) return new Tickets(createHash('sha256').update(this.secret).digest());
    await this.redis.set(REDIS_KEY, randomBytes(32).toString('base64'), 'NX');
    const kept = await this.redis.get(REDIS_KEY);
    if (kept === null) throw new Error('Redis did not keep the key that signs segment addresses');
    return new Tickets(Buffer.from(kept, 'base64'));
  }
}
