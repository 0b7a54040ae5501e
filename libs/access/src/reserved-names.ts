import { randomUUID } from 'node:crypto';
import { ErrorCode, WeirError } from '@weir/contracts';
import { within } from '@weir/timing';
import type { Principal } from './principal.js';
import { REDIS_TIMEOUT_MS } from './revocations.js';
import type { AccessLog } from './token-keys.js';

/** What can own names of streams; for each kind one service reserves the names. */
export const NAME_OWNERS = ['robots', 'calls', 'recordings'] as const;
export type NameOwner = (typeof NAME_OWNERS)[number];

/** Reserves all names of a tenant's streams that begin with `prefix` for one robot, call or recording. */
export interface NameReservation {
  readonly owner: NameOwner;
  /** Ends with a slash, for example `<robot id>/`. */
  readonly prefix: string;
}

/** The rights of whoever claims a name. */
export interface NameRight {
  /** The NameOwner of the claiming service when it reserves names itself; otherwise empty. */
  readonly owner: string;
  /** The object patterns of its publish grants. */
  readonly publishPatterns: readonly string[];
}

/**
 * Whether a reserved name may be claimed: by its owner, or with a publish grant whose pattern begins with the reserved
 * prefix. A broader grant, such as one to publish everything, is not enough.
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
 * Tells which names are reserved, for code that decides about claims and players. It keeps a copy in this process; each
 * time it is asked, it compares one version per owner with Redis. While Redis is away, or has lost the names and the
 * owner hasn't written them again, the last known copy holds.
 */
export class ReservedNames {
  readonly #versions = new Map<NameOwner, string>();
  readonly #fields = new Map<NameOwner, ReadonlySet<string>>();
  #hasRead = false;

  constructor(private readonly ports: ReservedNamesPorts) {}

  /** @throws WeirError UNAVAILABLE when Redis has never answered */
  async find(tenant: string, name: string): Promise<NameReservation | undefined> {
    await this.refresh();
    return this.known(tenant, name);
  }

  /** The reservation as of Redis' last answer. */
  known(tenant: string, name: string): NameReservation | undefined {
    for (let end = name.indexOf('/'); end !== -1; end = name.indexOf('/', end + 1)) {
      const prefix = name.slice(0, end + 1);
      const owner = NAME_OWNERS.find((candidate) => this.#fields.get(candidate)?.has(fieldOf(tenant, prefix)));
      if (owner !== undefined) return { owner, prefix };
    }
    return undefined;
  }

  /** @throws WeirError UNAVAILABLE when Redis has never answered */
  async refresh(): Promise<void> {
    try {
      await within(REDIS_TIMEOUT_MS, this.#read());
      this.#hasRead = true;
    } catch (cause) {
      if (!this.#hasRead)
        throw new WeirError(ErrorCode.UNAVAILABLE, 'Reserved names cannot be checked now; try again', {}, { cause });
      this.ports.log.warn({ err: cause }, 'reserved names could not be read; the last known ones stay in force');
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

/** Redis executes either all of its commands or none. */
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

/** The owning service writes its reservations with this, after it has stored them in its own database. */
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

  /** Whether Redis has lost this owner's reservations or never had them. */
  async areLost(): Promise<boolean> {
    return (await this.ports.redis.exists(versionKey(this.ports.owner))) === 0;
  }

  /** Replaces all of this owner's reservations. */
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
