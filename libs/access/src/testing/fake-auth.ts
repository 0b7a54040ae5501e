import { randomUUID } from 'node:crypto';
import { Bus } from '@weir/bus';
import { Auth, AuthEvents, ErrorCode, WeirError } from '@weir/contracts';
import { calculateJwkThumbprint, exportJWK, generateKeyPair, SignJWT, type JWTPayload } from 'jose';
import { API_KEY_PATTERN, TOKEN_AUDIENCE } from '../access.js';
import { credentialRefIn, type CredentialRef } from '../credential-ref.js';
import { revocationKey } from '../revocations.js';
import { grantsOfRole } from '../roles.js';
import { TOKEN_ISSUER } from '../token-keys.js';

export interface GrantText {
  readonly verb: string;
  readonly object: string;
}

/** Whose an API key is. */
export interface KeyHolder {
  readonly tenant: string;
  readonly grants: readonly GrantText[];
}

export interface MintedToken {
  readonly token: string;
  readonly tokenId: string;
}

export interface FakeAuthOptions {
  /** The API keys that there are from the start. */
  readonly keys?: Readonly<Record<string, KeyHolder>>;
  /** Whether a token or an application has ended. By default none has. */
  readonly hasEnded?: (ref: Exclude<CredentialRef, { kind: 'key' }>) => boolean;
}

interface MarkWriter {
  set(key: string, value: string, unit: 'PX', ms: number): Promise<unknown>;
}

type PrivateKey = Awaited<ReturnType<typeof generateKeyPair>>['privateKey'];

/** An API key of the right form, always the same for one id of up to 12 small letters and digits. */
export const apiKeyNamed = (id: string): string => `weir_${id.padEnd(12, '0')}_${'k'.repeat(43)}`;

const idOf = (key: string): string => API_KEY_PATTERN.exec(key)?.[1] ?? '';

/** A stand-in for the auth service that keeps its contract: it has the key that signs tokens, and API keys. */
export class FakeAuth {
  readonly #keys: Map<string, KeyHolder>;

  private constructor(
    readonly bus: Bus,
    private readonly signer: { readonly kid: string; readonly privateKey: PrivateKey },
    jwks: string,
    { keys = {}, hasEnded = () => false }: FakeAuthOptions,
  ) {
    this.#keys = new Map(Object.entries(keys));
    bus.serve(Auth.method.getJwks, () => ({ json: jwks }));
    bus.serve(Auth.method.verifyApiKey, ({ key }) => {
      const holder = this.#keys.get(key);
      if (holder === undefined) throw new WeirError(ErrorCode.UNAUTHENTICATED, 'no such key');
      return { subject: `key:${idOf(key)}`, tenant: holder.tenant, grants: [...holder.grants] };
    });
    bus.serve(Auth.method.findEnded, ({ credentials }) => {
      const live = new Set([...this.#keys.keys()].map(idOf));
      return {
        ended: credentials.flatMap((message, index) => {
          const ref = credentialRefIn(message);
          if (ref === undefined) return [];
          return (ref.kind === 'key' ? !live.has(ref.keyId) : hasEnded(ref)) ? [index] : [];
        }),
      };
    });
  }

  static async start(natsUrl: string, options: FakeAuthOptions = {}): Promise<FakeAuth> {
    const bus = await Bus.connect({ url: natsUrl, service: 'auth', instanceId: 'auth-fake' });
    const { publicKey, privateKey } = await generateKeyPair('EdDSA', { crv: 'Ed25519' });
    const jwk = await exportJWK(publicKey);
    const kid = await calculateJwkThumbprint(jwk);
    const jwks = JSON.stringify({ keys: [{ ...jwk, kid, alg: 'EdDSA', use: 'sig' }] });
    return new FakeAuth(bus, { kid, privateKey }, jwks, options);
  }

  sign(claims: JWTPayload, { audience = TOKEN_AUDIENCE, life = '10m' } = {}): Promise<string> {
    return new SignJWT(claims)
      .setProtectedHeader({ alg: 'EdDSA', kid: this.signer.kid })
      .setIssuer(TOKEN_ISSUER)
      .setAudience(audience)
      .setIssuedAt()
      .setExpirationTime(life)
      .sign(this.signer.privateKey);
  }

  /** Makes a token, by default one of a member. */
  async mint(
    grants: readonly GrantText[] = grantsOfRole('member'),
    { tenant = 'demo', life = '10m' } = {},
  ): Promise<MintedToken> {
    const tokenId = randomUUID();
    return { token: await this.sign({ sub: 'user:1', jti: tokenId, tenant, grants }, { life }), tokenId };
  }

  async token(...asked: Parameters<FakeAuth['mint']>): Promise<string> {
    return (await this.mint(...asked)).token;
  }

  /** Makes an API key. */
  key(grants: readonly GrantText[], tenant = 'demo'): string {
    const key = apiKeyNamed(randomUUID().replace(/-/g, '').slice(0, 12));
    this.#keys.set(key, { tenant, grants });
    return key;
  }

  /** As when an operator removes a key. */
  removeKey(key: string): void {
    this.#keys.delete(key);
    this.bus.publish(AuthEvents.method.keyRemoved, { keyId: idOf(key) });
  }

  /** As auth does it: a mark in Redis, and an event. */
  async revoke(tokenId: string, redis: MarkWriter): Promise<void> {
    await redis.set(revocationKey(tokenId), '1', 'PX', 60_000);
    this.revoked(tokenId);
  }

  /** The event alone. */
  revoked(tokenId: string): void {
    this.bus.publish(AuthEvents.method.tokenRevoked, { tokenId });
  }

  async stop(): Promise<void> {
    await this.bus.drain({ graceMs: 200 });
  }
}
