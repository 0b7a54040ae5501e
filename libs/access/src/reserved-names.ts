import { randomUUID } from 'node:crypto';
import { ErrorCode, WeirError } from '@weir/contracts';
import type { Principal } from './principal.js';
import { REDIS_TIMEOUT_MS, withTimeout } from './revocations.js';
import type { AccessLog } from './token-keys.js';

/** What streams' names may belong to; each kind has one service that reserves names for it. */
export const NAME_OWNERS = ['robots', 'calls', 'recordings'] as const;
export type NameOwner = (typeof NAME_OWNERS)[number];

/** The names of a tenant's streams that begin so belong to a robot, a call or a recording alone. */
export interface NameReservation {
  readonly owner: NameOwner;
  /** Ends with a slash, as `<robot id>/`. */
  readonly prefix: string;
}

/** By what right a name is claimed. */
export interface NameRight {
  /** The service that has names reserved and claims one now, by the word it has reserved it with; or empty. */
  readonly owner: string;
  /** The object patterns of the claimer's publish grants. */
  readonly publishPatterns: readonly string[];
}

/**
 * Whether a reserved name may be claimed: by its owner, and by whoever has the right to publish just under this
 * beginning. A right that happens to reach there, as that to publish everything, is not enough.
 */
export const mayClaimReserved = ({ owner, prefix }: NameReservation, right: NameRight): boolean =>
  right.owner === owner || right.publishPatterns.some((pattern) => pattern.startsWith(prefix));

export const publishPatternsOf = ({ grants }: Pick<Principal, 'grants'>): string[] =>
  grants.flatMap(({ verb, object }) => (verb === 'publish' ? [object] : []));

const namesKey = (owner: NameOwner): string => `weir:reserved-names:${owner}`;
const versionKey = (owner: NameOwner): string => `weir:reserved-names-version:${owner}`;
const fieldOf = (tenant: string, prefix: string): string => `${tenant}\n${prefix}`;

export interface ReservedNamesPorts {
  readonly redis: { mget(...keys: string[]): Promise<(string | null)[]>; hkeys(key: string): Promise<string[]> };
  readonly log: AccessLog;
}

/**
 * Which names are reserved, for those who decide about claims and players. Kept in this process and compared with Redis
 * at every question, by one number for each owner: while Redis is away, or has lost what it had until the owner has
 * written it again, what was known last holds.
 */
export class ReservedNames {
  readonly #versions = new Map<NameOwner, string>();
  readonly #fields = new Map<NameOwner, ReadonlySet<string>>();
  #hasRead = false;

  constructor(private readonly ports: ReservedNamesPorts) {}

  /** @throws WeirError UNAVAILABLE when Redis could never be asked */
  async find(tenant: string, name: string): Promise<NameReservation | undefined> {
    await this.refresh();
    return this.known(tenant, name);
  }

  /** As it was when Redis was asked last. */
  known(tenant: string, name: string): NameReservation | undefined {
    for (let end = name.indexOf('/'); end !== -1; end = name.indexOf('/', end + 1)) {
      const prefix = name.slice(0, end + 1);
      const owner = NAME_OWNERS.find((candidate) => this.#fields.get(candidate)?.has(fieldOf(tenant, prefix)));
      if (owner !== undefined) return { owner, prefix };
    }
    return undefined;
  }

  /** @throws WeirError UNAVAILABLE when Redis could never be asked */
  async refresh(): Promise<void> {
    try {
      await withTimeout(this.#read(), REDIS_TIMEOUT_MS);
      this.#hasRead = true;
    } catch (cause) {
      if (!this.#hasRead)
        throw new WeirError(ErrorCode.UNAVAILABLE, "Which names are reserved can't be told just now", {}, { cause });
      this.ports.log.warn({ err: cause }, 'reserved names could not be compared; what was known holds');
    }
  }

  async #read(): Promise<void> {
    const versions = await this.ports.redis.mget(...NAME_OWNERS.map(versionKey));
    for (const [index, owner] of NAME_OWNERS.entries()) {
      const version = versions[index] ?? undefined;
      if (version === undefined || version === this.#versions.get(owner)) continue;
      this.#fields.set(owner, new Set(await this.ports.redis.hkeys(namesKey(owner))));
      this.#versions.set(owner, version);
    }
  }
}

/** Commands that Redis does all together or not at all. */
interface Transaction {
  hset(key: string, ...fieldsAndValues: string[]): Transaction;
  hdel(key: string, ...fields: string[]): Transaction;
  del(key: string): Transaction;
  set(key: string, value: string): Transaction;
  exec(): Promise<unknown>;
}

export interface NameReservationsPorts {
  readonly redis: { multi(): Transaction; exists(key: string): Promise<number> };
  readonly owner: NameOwner;
}

export interface ReservedPrefix {
  readonly tenant: string;
  readonly prefix: string;
}

const MAX_WRITTEN_AT_ONCE = 1_000;

/** What the service that owns a kind of names tells of them. What it says must be in its own database before. */
export class NameReservations {
  constructor(private readonly ports: NameReservationsPorts) {}

  async reserve({ tenant, prefix }: ReservedPrefix): Promise<void> {
    const { redis, owner } = this.ports;
    await this.#commit(redis.multi().hset(namesKey(owner), fieldOf(tenant, prefix), ''));
  }

  async release({ tenant, prefix }: ReservedPrefix): Promise<void> {
    const { redis, owner } = this.ports;
    await this.#commit(redis.multi().hdel(namesKey(owner), fieldOf(tenant, prefix)));
  }

  /** Redis has lost them, or never had any. */
  async areLost(): Promise<boolean> {
    return (await this.ports.redis.exists(versionKey(this.ports.owner))) === 0;
  }

  /** Writes all of them in place of those that are there. */
  async replaceAll(reserved: readonly ReservedPrefix[]): Promise<void> {
    const { redis, owner } = this.ports;
    const transaction = redis.multi().del(namesKey(owner));
    for (let from = 0; from < reserved.length; from += MAX_WRITTEN_AT_ONCE) {
      const some = reserved.slice(from, from + MAX_WRITTEN_AT_ONCE);
      transaction.hset(namesKey(owner), ...some.flatMap(({ tenant, prefix }) => [fieldOf(tenant, prefix), '']));
    }
    await this.#commit(transaction);
  }

  async #commit(transaction: Transaction): Promise<void> {
    await transaction.set(versionKey(this.ports.owner), randomUUID()).exec();
  }
}
