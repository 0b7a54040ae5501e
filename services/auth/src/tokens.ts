import { randomBytes } from 'node:crypto';
import {
  passDigest,
  passOf,
  RECORDING_AUDIENCE,
  revocationKey,
  TOKEN_AUDIENCE,
  TOKEN_ISSUER,
  type Grant,
} from '@weir/access';
import { AuthEvents, ErrorCode, WeirError } from '@weir/contracts';
import type { Bus } from '@weir/bus';
import type { TokenKind } from '@weir/protocol-eyeson';
import type { Redis } from 'ioredis';
import { readGrants, writeGrants, type Database } from './database.js';
import type { Token } from './generated/client.js';
import type { SigningKeys } from './signing-keys.js';

/** What the token was made with. Revoking it also revokes the tokens that it issued. */
export type TokenIssuer = 'login' | `key:${string}` | `token:${string}`;

export interface TokenRequest {
  readonly subject: string;
  readonly tenant: string;
  readonly grants: readonly Grant[];
  readonly ttlS: number;
  readonly issuer: TokenIssuer;
}

/** A token for recording, which opens nothing else. */
export interface RecordingTokenRequest {
  readonly kind: TokenKind;
  readonly clientId: string;
  /** The client that a supervisor may watch. */
  readonly monitor?: string;
  readonly tenant: string;
  readonly apiId: string;
  readonly ttlS: number;
  readonly issuer: TokenIssuer;
}

export interface IssuedToken {
  readonly token: string;
  /** A short text that is accepted in place of the token. */
  readonly pass: string;
  readonly tokenId: string;
  readonly expiresAtMs: number;
}

export interface TokenRecord {
  readonly tokenId: string;
  readonly subject: string;
  readonly grants: readonly Grant[];
  readonly issuedAt: Date;
  readonly expiresAt: Date;
}

/** Verifiers' clocks may be slow, so a revocation outlives its token by this much. */
const REVOCATION_MARGIN_MS = 60_000;
/** Marks that Redis has the revocations; it vanishes with them if Redis loses its data. */
const REVOCATIONS_TOLD = 'auth:revocations-told';
/** An expired token's row is kept this long. */
const KEEP_EXPIRED_MS = 60 * 60 * 1000;

const recordOf = (row: Token): TokenRecord => ({
  tokenId: row.id,
  subject: row.subject,
  grants: readGrants(row.grants),
  issuedAt: row.issuedAt,
  expiresAt: row.expiresAt,
});

export interface TokenPorts {
  readonly database: Database;
  readonly redis: Pick<Redis, 'set' | 'exists'>;
  readonly bus: Pick<Bus, 'publish'>;
  readonly keys: SigningKeys;
}

/** Issues and revokes tokens. */
export class Tokens {
  constructor(private readonly ports: TokenPorts) {}

  async issue({ subject, tenant, grants, ttlS, issuer }: TokenRequest): Promise<IssuedToken> {
    const tokenId = randomBytes(16).toString('base64url');
    const iat = Math.floor(Date.now() / 1000);
    const exp = iat + ttlS;
    const token = await this.ports.keys.sign({
      iss: TOKEN_ISSUER,
      aud: TOKEN_AUDIENCE,
      sub: subject,
      tenant,
      jti: tokenId,
      iat,
      exp,
      grants: writeGrants(grants),
    });
    const pass = passOf(token);
    await this.ports.database.token.create({
      data: {
        id: tokenId,
        passHash: passDigest(pass),
        tenantName: tenant,
        subject,
        issuer,
        grants: writeGrants(grants),
        issuedAt: new Date(iat * 1000),
        expiresAt: new Date(exp * 1000),
      },
    });
    return { token, pass, tokenId, expiresAtMs: exp * 1000 };
  }

  /** It has no pass. In lists its subject is `recording:<client id>`. */
  async issueForRecording(
    request: RecordingTokenRequest,
  ): Promise<{ readonly token: string; readonly tokenId: string }> {
    const { kind, clientId, monitor, tenant, apiId, ttlS, issuer } = request;
    const tokenId = randomBytes(16).toString('base64url');
    const iat = Math.floor(Date.now() / 1000);
    const exp = iat + ttlS;
    const token = await this.ports.keys.sign({
      ...{ iss: TOKEN_ISSUER, aud: RECORDING_AUDIENCE, sub: clientId, tenant, jti: tokenId, iat, exp, kind },
      ...(monitor !== undefined && { monitor }),
      api_id: apiId,
    });
    await this.ports.database.token.create({
      data: {
        ...{ id: tokenId, tenantName: tenant, subject: `recording:${clientId}`, issuer },
        grants: writeGrants([]),
        issuedAt: new Date(iat * 1000),
        expiresAt: new Date(exp * 1000),
      },
    });
    return { token, tokenId };
  }

  /** Stores the pass of a token that was issued before there were passes. */
  async keepPass(tokenId: string, pass: string): Promise<void> {
    const where = { id: tokenId, passHash: null };
    await this.ports.database.token.updateMany({ where, data: { passHash: passDigest(pass) } });
  }

  /** The valid token that the pass stands for. Throws UNAUTHENTICATED. */
  async findByPass(pass: string): Promise<TokenRecord & { readonly tenant: string }> {
    const row = await this.ports.database.token.findUnique({ where: { passHash: passDigest(pass) } });
    if (row === null || row.revokedAt !== null || row.expiresAt <= new Date())
      throw new WeirError(ErrorCode.UNAUTHENTICATED, 'The pass is not valid');
    return { ...recordOf(row), tenant: row.tenantName };
  }

  async find(tenant: string, tokenId: string): Promise<TokenRecord | undefined> {
    const row = await this.ports.database.token.findFirst({ where: { id: tokenId, tenantName: tenant } });
    return row === null ? undefined : recordOf(row);
  }

  /** Those that are valid now, newest first. */
  async list(tenant: string, subject: string | undefined, limit: number): Promise<TokenRecord[]> {
    const rows = await this.ports.database.token.findMany({
      where: {
        tenantName: tenant,
        revokedAt: null,
        expiresAt: { gt: new Date() },
        ...(subject !== undefined && { subject }),
      },
      orderBy: [{ issuedAt: 'desc' }, { id: 'asc' }],
      take: limit,
    });
    return rows.map(recordOf);
  }

  /** Revokes the token and every token that was made with it. Idempotent. Throws UNAVAILABLE without Redis. */
  revoke(tokenId: string): Promise<void> {
    return this.#revokeAll({ id: tokenId });
  }

  revokeOfSubject(tenant: string, subject: string): Promise<void> {
    return this.#revokeAll({ tenantName: tenant, subject });
  }

  revokeOfIssuer(issuer: TokenIssuer): Promise<void> {
    return this.#revokeAll({ issuer });
  }

  /** Writes all revocations to Redis again, which may have lost them. */
  async restoreRevocations(): Promise<number> {
    const rows = await this.ports.database.token.findMany({
      where: { revokedAt: { not: null }, expiresAt: { gt: new Date() } },
    });
    for (const row of rows) await this.#writeRevocation(row);
    await this.ports.redis.set(REVOCATIONS_TOLD, '1');
    return rows.length;
  }

  /** Does so only if Redis lacks the mark that it has them. */
  async restoreLostRevocations(): Promise<void> {
    if ((await this.ports.redis.exists(REVOCATIONS_TOLD)) === 0) await this.restoreRevocations();
  }

  async purge(): Promise<number> {
    const before = new Date(Date.now() - KEEP_EXPIRED_MS);
    const { count } = await this.ports.database.token.deleteMany({ where: { expiresAt: { lt: before } } });
    return count;
  }

  async #revokeAll(
    where: { id: string } | { tenantName: string; subject: string } | { issuer: string },
  ): Promise<void> {
    const rows = await this.ports.database.token.findMany({ where: { ...where, expiresAt: { gt: new Date() } } });
    for (const row of rows) {
      await this.#writeRevocation(row);
      await this.ports.database.token.updateMany({
        where: { id: row.id, revokedAt: null },
        data: { revokedAt: new Date() },
      });
      this.ports.bus.publish(AuthEvents.method.tokenRevoked, { tokenId: row.id });
    }
    // A token lives no longer than the one it was made with, so the search for its descendants ends.
    for (const row of rows) await this.#revokeAll({ issuer: `token:${row.id}` });
  }

  async #writeRevocation(row: Token): Promise<void> {
    const lifeMs = Math.max(row.expiresAt.getTime() - Date.now(), 0) + REVOCATION_MARGIN_MS;
    try {
      await this.ports.redis.set(revocationKey(row.id), '1', 'PX', lifeMs);
    } catch (cause) {
      throw new WeirError(
        ErrorCode.UNAVAILABLE,
        "The token can't be revoked at the moment; try again later",
        {},
        { cause },
      );
    }
  }
}
