import { ErrorCode, WeirError } from '@weir/contracts';
import { ExpiringMap } from './expiring-map.js';

/** The part of Redis that this library needs. */
export interface RevocationReader {
  exists(key: string): Promise<number>;
}

/** The auth service writes it with the token's remaining life as its TTL. */
export const revocationKey = (tokenId: string): string => `auth:revoked:${tokenId}`;

/** How long a token found unrevoked isn't looked up again: the most that a revocation can be late by. */
const UNREVOKED_MS = 1_000;
const REVOKED_MS = 60_000;
export const REDIS_TIMEOUT_MS = 1_000;
const MAX_CACHED = 10_000;

export const withTimeout = async <T>(work: Promise<T>, timeoutMs: number): Promise<T> => {
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    return await Promise.race([work, expired]);
  } finally {
    clearTimeout(timer);
  }
};

export class Revocations {
  readonly #known: ExpiringMap<boolean>;

  constructor(
    private readonly redis: RevocationReader,
    private readonly nowMs: () => number,
  ) {
    this.#known = new ExpiringMap(MAX_CACHED, nowMs);
  }

  /** Throws UNAVAILABLE when Redis doesn't answer: a token that may have been revoked opens nothing. */
  async isRevoked(tokenId: string): Promise<boolean> {
    const known = this.#known.get(tokenId);
    if (known !== undefined) return known;
    const askedAtMs = this.nowMs();
    const revoked = await this.#ask(tokenId);
    // Its revocation may have been told while Redis was asked.
    if (this.#known.get(tokenId) === true) return true;
    this.#known.set(tokenId, revoked, revoked ? REVOKED_MS : UNREVOKED_MS - (this.nowMs() - askedAtMs));
    return revoked;
  }

  /** The token has been revoked just now. */
  note(tokenId: string): void {
    this.#known.set(tokenId, true, REVOKED_MS);
  }

  async #ask(tokenId: string): Promise<boolean> {
    try {
      return (await withTimeout(this.redis.exists(revocationKey(tokenId)), REDIS_TIMEOUT_MS)) > 0;
    } catch (cause) {
      throw new WeirError(ErrorCode.UNAVAILABLE, "Whether the token was revoked can't be told just now", {}, { cause });
    }
  }
}
