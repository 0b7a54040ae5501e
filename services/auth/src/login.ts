import { readGrants, type Database } from './database.js';
import type { User } from './generated/client.js';
import type { LoginLimits } from './login-limits.js';
import type { Passwords } from './passwords.js';
import type { IssuedToken, Tokens } from './tokens.js';
import { normalUsername, subjectOfUser } from './users.js';

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
  readonly database: Database;
  readonly passwords: Passwords;
  readonly limits: LoginLimits;
  readonly tokens: Tokens;
  readonly tokenTtlS: number;
}

/** Turns a password into a token. */
export class Login {
  constructor(private readonly ports: LoginPorts) {}

  /** Throws UNAVAILABLE when attempts can't be counted. */
  async attempt({ username, password, address }: LoginAttempt): Promise<LoginOutcome> {
    const { limits, passwords } = this.ports;
    const name = normalUsername(username);
    const fromAddress = await limits.admitAddress(address);
    if (fromAddress.tag === 'waiting') return { tag: 'limited', retryAfterMs: fromAddress.retryAfterMs };
    const forUser = await limits.admitUser(name);

    // From here on every refusal has done the same work: one look-up and one verification.
    const user = await this.#find(name);
    const matches = await passwords.verify(user?.passwordHash, password);
    if (user === undefined || !matches || user.locked || forUser.tag === 'waiting') return { tag: 'refused' };

    await limits.succeeded(name, address);
    if (!passwords.isCurrent(user.passwordHash)) await this.#rehash(user, password);
    return this.#issue(user);
  }

  async #issue(user: User): Promise<LoginOutcome> {
    const subject = subjectOfUser(user.id);
    const issued = await this.ports.tokens.issue({
      subject,
      tenant: user.tenantName,
      grants: readGrants(user.grants),
      ttlS: this.ports.tokenTtlS,
      issuer: 'login',
    });
    // Locked, changed or removed meanwhile, when this token couldn't be seen yet: then it must not stay.
    const now = await this.#find(user.username);
    const unchanged = now !== undefined && !now.locked && JSON.stringify(now.grants) === JSON.stringify(user.grants);
    if (unchanged) return { tag: 'accepted', subject, ...issued };
    await this.ports.tokens.revoke(issued.tokenId);
    return { tag: 'refused' };
  }

  async #find(username: string): Promise<User | undefined> {
    return (await this.ports.database.user.findUnique({ where: { username } })) ?? undefined;
  }

  async #rehash({ id, passwordHash: before }: User, password: string): Promise<void> {
    const passwordHash = await this.ports.passwords.hash(password);
    await this.ports.database.user.updateMany({ where: { id, passwordHash: before }, data: { passwordHash } });
  }
}
