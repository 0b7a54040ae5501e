import { ErrorCode, WeirError } from '@weir/contracts';
import { within } from '@weir/timing';
import { ExpiringMap } from './expiring-map.js';

/** The part of Redis that this library needs. */
export interface RevocationReader {
  exists(key: string): Promise<number>;
}

/** The auth service writes this key; its TTL is the token's remaining life. */
export const revocationKey = (tokenId: string): string => `auth:revoked:${tokenId}`;

/** For how long an unrevoked token isn't looked up again; a lost revocation event is noticed at most this late. */
const UNREVOKED_MS = 1_000;
const REVOKED_MS = 60_000;
export const REDIS_TIMEOUT_MS = 1_000;
const MAX_CACHED = 10_000;

export class Revocations {
  readonly #known: ExpiringMap<boolean>;

  constructor(
    private readonly redis: RevocationReader,
    private readonly nowMs: () => number,
  ) {
    this.#known = new ExpiringMap(MAX_CACHED, nowMs);
  }

  /** Throws UNAVAILABLE when Redis doesn't answer, because the token may have been revoked. */
  async isRevoked(tokenId: string): Promise<boolean> {
    const known = this.#known.get(tokenId);
    if (known !== undefined) return known;
    const askedAtMs = this.nowMs();
    const revoked = await this.#ask(tokenId);
    // The event of its revocation may have arrived during the request.
    if (this.#known.get(tokenId) === true) return true;
    this.#known.set(tokenId, revoked, revoked ? REVOKED_MS : UNREVOKED_MS - (this.nowMs() - askedAtMs));
    return revoked;
  }

  /** Records that the token has just been revoked. */
  note(tokenId: string): void {
    this.#known.set(tokenId, true, REVOKED_MS);
  }

  async #ask(tokenId: string): Promise<boolean> {
    try {
      return (await within(REDIS_TIMEOUT_MS, this.redis.exists(revocationKey(tokenId)))) > 0;
    } catch (cause) {
      throw new WeirError(ErrorCode.UNAVAILABLE, 'The token cannot be checked now; try again', {}, { cause });
    }
  }
}
