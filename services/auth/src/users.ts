import type { Grant } from '@weir/access';
import { ErrorCode, WeirError } from '@weir/contracts';
import { isTaken, readGrants, writeGrants, type Database } from './database.js';
import type { User } from './generated/client.js';
import type { Passwords } from './passwords.js';
import type { Tokens } from './tokens.js';

export interface UserRecord {
  readonly userId: string;
  readonly username: string;
  readonly grants: readonly Grant[];
  readonly locked: boolean;
  readonly createdAt: Date;
}

/** What a log-in needs to know. */
export interface UserAccount {
  readonly userId: string;
  readonly tenant: string;
  readonly username: string;
  readonly passwordHash: string;
  readonly grants: readonly Grant[];
  readonly locked: boolean;
}

export interface FoundAccounts {
  readonly accounts: readonly UserAccount[];
  /** How many accounts the name could have: one per tenant that was searched. */
  readonly mostPossible: number;
}

export interface UserChange {
  readonly password?: string | undefined;
  readonly grants?: readonly Grant[] | undefined;
  readonly locked?: boolean | undefined;
}

/** Different ways of typing a name give the same normal form. */
export const normalUsername = (text: string): string => text.normalize('NFKC').trim().toLowerCase();

export const subjectOfUser = (userId: string): string => `user:${userId}`;

const recordOf = (row: User): UserRecord => ({
  userId: row.id,
  username: row.username,
  grants: readGrants(row.grants),
  locked: row.locked,
  createdAt: row.createdAt,
});

const accountOf = (row: User): UserAccount => ({
  ...recordOf(row),
  tenant: row.tenantName,
  passwordHash: row.passwordHash,
});

export interface UserPorts {
  readonly database: Database;
  readonly passwords: Passwords;
  readonly tokens: Tokens;
}

/** The people who log in. */
export class Users {
  constructor(private readonly ports: UserPorts) {}

  /** Throws ALREADY_EXISTS. */
  async create(tenant: string, username: string, password: string, grants: readonly Grant[]): Promise<UserRecord> {
    const passwordHash = await this.ports.passwords.hash(password);
    try {
      const row = await this.ports.database.user.create({
        data: { tenantName: tenant, username: normalUsername(username), passwordHash, grants: writeGrants(grants) },
      });
      return recordOf(row);
    } catch (error) {
      if (isTaken(error)) throw new WeirError(ErrorCode.ALREADY_EXISTS, 'Another user has this username', { username });
      throw error;
    }
  }

  /** The accounts that a normal username may mean, oldest first: at most one per tenant, or only the given tenant's. */
  async findAccounts(username: string, tenant: string | undefined): Promise<FoundAccounts> {
    const rows = this.ports.database.user.findMany({
      where: { username, ...(tenant !== undefined && { tenantName: tenant }) },
      orderBy: { createdAt: 'asc' },
    });
    const [found, tenants] = await this.ports.database.$transaction([rows, this.ports.database.tenant.count()]);
    return { accounts: found.map(accountOf), mostPossible: tenant === undefined ? tenants : 1 };
  }

  async getAccount(userId: string): Promise<UserAccount | undefined> {
    const row = await this.ports.database.user.findUnique({ where: { id: userId } });
    return row === null ? undefined : accountOf(row);
  }

  /** Does nothing if the password was changed in the meantime. */
  async replaceHash({ userId, passwordHash: before }: UserAccount, passwordHash: string): Promise<void> {
    await this.ports.database.user.updateMany({ where: { id: userId, passwordHash: before }, data: { passwordHash } });
  }

  /** Throws NOT_FOUND, also for another tenant's user. */
  async get(tenant: string, username: string): Promise<UserRecord> {
    const row = await this.ports.database.user.findFirst({
      where: { tenantName: tenant, username: normalUsername(username) },
    });
    if (row === null) throw new WeirError(ErrorCode.NOT_FOUND, 'No such user', { username });
    return recordOf(row);
  }

  async list(tenant: string, limit: number): Promise<UserRecord[]> {
    const rows = await this.ports.database.user.findMany({
      where: { tenantName: tenant },
      orderBy: { username: 'asc' },
      take: limit,
    });
    return rows.map(recordOf);
  }

  /** Revokes the user's tokens, which may carry more rights than the user now has. Throws NOT_FOUND. */
  async change(tenant: string, username: string, change: UserChange): Promise<UserRecord> {
    const { userId } = await this.get(tenant, username);
    const passwordHash = change.password === undefined ? undefined : await this.ports.passwords.hash(change.password);
    const row = await this.#withoutTokens(tenant, userId, () =>
      this.ports.database.user.update({
        where: { id: userId },
        data: {
          ...(passwordHash !== undefined && { passwordHash }),
          ...(change.grants !== undefined && { grants: writeGrants(change.grants) }),
          ...(change.locked !== undefined && { locked: change.locked }),
        },
      }),
    );
    return recordOf(row);
  }

  /** Throws NOT_FOUND. */
  async remove(tenant: string, username: string): Promise<void> {
    const { userId } = await this.get(tenant, username);
    await this.#withoutTokens(tenant, userId, () => this.ports.database.user.deleteMany({ where: { id: userId } }));
  }

  /** Revokes before the work, so that nothing changes if revoking fails, and after it, for log-ins in between. */
  async #withoutTokens<T>(tenant: string, userId: string, work: () => Promise<T>): Promise<T> {
    await this.ports.tokens.revokeOfSubject(tenant, subjectOfUser(userId));
    const result = await work();
    await this.ports.tokens.revokeOfSubject(tenant, subjectOfUser(userId));
    return result;
  }
}
