import { isDeepStrictEqual } from 'node:util';
import type { LoginLimits } from './login-limits.js';
import type { Passwords } from './passwords.js';
import type { IssuedToken, Tokens } from './tokens.js';
import { normalUsername, subjectOfUser, type UserAccount, type Users } from './users.js';

export interface LoginAttempt {
  readonly username: string;
  readonly password: string;
  /** Where it comes from. */
  readonly address: string;
}

export type LoginOutcome =
  | ({ readonly tag: 'accepted'; readonly subject: string } & IssuedToken)
  /** Unknown user, wrong password, locked user, a user who must wait: which of them is nobody's business. */
  | { readonly tag: 'refused' }
  /** Too many failures from this address, whoever was named. */
  | { readonly tag: 'limited'; readonly retryAfterMs: number };

export interface LoginPorts {
  readonly users: Pick<Users, 'findAccount' | 'replaceHash'>;
  readonly passwords: Pick<Passwords, 'hash' | 'verify' | 'isCurrent'>;
  readonly limits: Pick<LoginLimits, 'admitUser' | 'admitAddress' | 'succeeded'>;
  readonly tokens: Pick<Tokens, 'issue' | 'revoke'>;
  readonly tokenTtlS: number;
}

/** Turns a password into a token. */
export class Login {
  constructor(private readonly ports: LoginPorts) {}

  /** Throws UNAVAILABLE when attempts can't be counted. */
  async attempt({ username, password, address }: LoginAttempt): Promise<LoginOutcome> {
    const { limits, passwords, users } = this.ports;
    const name = normalUsername(username);
    const fromAddress = await limits.admitAddress(address);
    if (fromAddress.tag === 'waiting') return { tag: 'limited', retryAfterMs: fromAddress.retryAfterMs };
    const forUser = await limits.admitUser(name);

    // From here on every refusal has done the same work: one look-up and one verification.
    const account = await users.findAccount(name);
    const matches = await passwords.verify(account?.passwordHash, password);
    if (account === undefined || !matches || account.locked || forUser.tag === 'waiting') return { tag: 'refused' };

    await limits.succeeded(name, address);
    if (!passwords.isCurrent(account.passwordHash)) {
      await users.replaceHash(account, await passwords.hash(password));
    }
    return this.#issue(account);
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
    // Locked, changed or removed meanwhile, when this token couldn't be seen yet: then it must not stay.
    const now = await this.ports.users.findAccount(account.username);
    if (now !== undefined && !now.locked && isDeepStrictEqual(now.grants, account.grants)) {
      return { tag: 'accepted', subject, ...issued };
    }
    await this.ports.tokens.revoke(issued.tokenId);
    return { tag: 'refused' };
  }
}
