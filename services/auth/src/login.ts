import { isDeepStrictEqual } from 'node:util';
import type { LoginLimits } from './login-limits.js';
import type { Passwords } from './passwords.js';
import type { IssuedToken, Tokens } from './tokens.js';
import { normalUsername, subjectOfUser, type FoundAccounts, type UserAccount, type Users } from './users.js';

export interface LoginAttempt {
  readonly username: string;
  readonly password: string;
  /** The user's tenant, in case several tenants have a user of that name. */
  readonly tenant?: string | undefined;
  /** The client's IP address. */
  readonly address: string;
}

export type LoginOutcome =
  | ({ readonly tag: 'accepted'; readonly subject: string } & IssuedToken)
  /** Unknown user, wrong password or locked user: the client isn't told which. */
  | { readonly tag: 'refused' }
  /** Too many failures from this address. */
  | { readonly tag: 'limited'; readonly retryAfterMs: number };

export interface LoginPorts {
  readonly users: Pick<Users, 'findAccounts' | 'getAccount' | 'replaceHash'>;
  readonly passwords: Pick<Passwords, 'hash' | 'verify' | 'isCurrent'>;
  readonly limits: Pick<LoginLimits, 'admit' | 'succeeded'>;
  readonly tokens: Pick<Tokens, 'issue' | 'revoke'>;
  readonly tokenTtlS: number;
}

/** At least this many passwords (or one per tenant, if fewer) are verified, so that timing reveals no other tenant. */
const MAX_EQUAL_WORK = 4;

/** Turns a password into a token. */
export class Login {
  constructor(private readonly ports: LoginPorts) {}

  /** Throws UNAVAILABLE when attempts can't be counted. */
  async attempt({ username, password, tenant, address }: LoginAttempt): Promise<LoginOutcome> {
    const { limits, passwords, users } = this.ports;
    const name = normalUsername(username);
    const admission = await limits.admit(name, address);
    if (admission.tag === 'waiting') return { tag: 'limited', retryAfterMs: admission.retryAfterMs };

    // From here on every refusal takes the same work: one look-up and the same number of verifications.
    const found = await users.findAccounts(name, tenant);
    const account = await this.#holder(found, password);
    if (account === undefined) return { tag: 'refused' };

    await limits.succeeded(name, address);
    if (!passwords.isCurrent(account.passwordHash)) {
      await users.replaceHash(account, await passwords.hash(password));
    }
    return this.#issue(account);
  }

  /** The oldest account that has the password and isn't locked. */
  async #holder({ accounts, mostPossible }: FoundAccounts, password: string): Promise<UserAccount | undefined> {
    const { passwords } = this.ports;
    const rounds = Math.max(accounts.length, Math.min(mostPossible, MAX_EQUAL_WORK), 1);
    let holder: UserAccount | undefined;
    for (let i = 0; i < rounds; i++) {
      const account = accounts[i];
      const matches = await passwords.verify(account?.passwordHash, password);
      if (matches && account !== undefined && !account.locked) holder ??= account;
    }
    return holder;
  }

  async #issue(account: UserAccount): Promise<LoginOutcome> {
    const subject = subjectOfUser(account.userId);
    const issued = await this.ports.tokens.issue({
      subject,
      tenant: account.tenant,
      grants: account.grants,
      ttlS: this.ports.tokenTtlS,
      issuer: 'login',
    });
    // If the user was locked, changed or removed before this token was stored, nothing has revoked the token yet.
    const now = await this.ports.users.getAccount(account.userId);
    if (now !== undefined && !now.locked && isDeepStrictEqual(now.grants, account.grants)) {
      return { tag: 'accepted', subject, ...issued };
    }
    await this.ports.tokens.revoke(issued.tokenId);
    return { tag: 'refused' };
  }
}
