import { createHash } from 'node:crypto';
import type { DescMessage, DescMethodUnary, MessageShape } from '@bufbuild/protobuf';
import { Auth, AuthEvents } from '@weir/contracts';
import { z } from 'zod';
import { ExpiringMap } from './expiring-map.js';
import { knownGrants, type Grant } from './grants.js';
import { PASS_PATTERN, passOf } from './pass.js';
import type { Principal } from './principal.js';
import { Revocations, type RevocationReader } from './revocations.js';
import { TOKEN_ISSUER, TokenKeys, unauthenticated, type AccessLog, type BusCaller } from './token-keys.js';

export const TOKEN_AUDIENCE = 'weir';
/** A token or key longer than this is refused without being read. */
export const MAX_CREDENTIAL_LENGTH = 8192;

/** For how long a verified key isn't asked about again; a lost removal event is noticed at most this late. */
const KEY_CACHE_MS = 1_000;
const MAX_CACHED_KEYS = 10_000;
const MAX_KNOWN_PASSES = 10_000;

/** An API key is `weir_<id>_<secret>`. The id isn't secret: it names the key in lists and logs. */
export const API_KEY_PATTERN = /^weir_([a-z0-9]{12})_([A-Za-z0-9_-]{43})$/;

const claimsSchema = z.object({
  sub: z.string().min(1),
  jti: z.string().min(1).max(128),
  exp: z.number(),
  tenant: z.string().min(1),
  grants: z.array(z.object({ verb: z.string(), object: z.string() })),
});

/** The part of the bus that tells at once when a credential ends. */
export interface BusListener {
  subscribe<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    handler: (event: MessageShape<I>) => void,
  ): unknown;
}

export interface AccessPorts {
  readonly bus: BusCaller & BusListener;
  readonly redis: RevocationReader;
  readonly log: AccessLog;
  readonly nowMs?: () => number;
}

export interface AccessOptions {
  readonly issuer?: string;
  readonly audience?: string;
}

/** What a token says. This never changes; whether the token was revoked is asked each time. */
interface TokenContent {
  readonly subject: string;
  readonly tenant: string;
  readonly grants: readonly Grant[];
  readonly tokenId: string;
  readonly expiresAtMs: number;
}

/** Finds out who holds a token, a pass or an API key. One object serves a whole process. */
export class Access {
  readonly #keys: TokenKeys;
  readonly #revocations: Revocations;
  readonly #apiKeys: ExpiringMap<Principal>;
  /** Includes the passes of tokens seen here, so that a player can follow its own playlist while auth is away. */
  readonly #passes: ExpiringMap<TokenContent>;
  readonly #nowMs: () => number;

  constructor(
    private readonly ports: AccessPorts,
    private readonly options: AccessOptions = {},
  ) {
    this.#nowMs = ports.nowMs ?? Date.now;
    this.#keys = new TokenKeys({ bus: ports.bus, log: ports.log, nowMs: this.#nowMs });
    this.#revocations = new Revocations(ports.redis, this.#nowMs);
    this.#apiKeys = new ExpiringMap(MAX_CACHED_KEYS, this.#nowMs);
    this.#passes = new ExpiringMap(MAX_KNOWN_PASSES, this.#nowMs);
    ports.bus.subscribe(AuthEvents.method.tokenRevoked, ({ tokenId }) => this.#revocations.note(tokenId));
    ports.bus.subscribe(AuthEvents.method.keyRemoved, () => this.#apiKeys.clear());
  }

  /**
   * Takes a token, its pass or an API key, with or without `Bearer ` before it.
   * Throws UNAUTHENTICATED for everything that isn't valid now, and UNAVAILABLE when it can't be checked.
   */
  async authenticate(credential: string): Promise<Principal> {
    const bare = credential.replace(/^Bearer +/i, '');
    if (bare.length > MAX_CREDENTIAL_LENGTH) throw unauthenticated();
    if (API_KEY_PATTERN.test(bare)) return this.verifyApiKey(bare);
    return PASS_PATTERN.test(bare) ? this.verifyPass(bare) : this.verifyToken(bare);
  }

  /** Throws as `authenticate` does. */
  async verifyToken(token: string): Promise<Principal> {
    const { sub, tenant, grants, jti, exp } = await this.#keys.claimsOf(token, {
      issuer: this.options.issuer ?? TOKEN_ISSUER,
      audience: this.options.audience ?? TOKEN_AUDIENCE,
      claims: claimsSchema,
    });
    const content = { subject: sub, tenant, grants: knownGrants(grants), tokenId: jti, expiresAtMs: exp * 1000 };
    this.#learn(passOf(token), content);
    return this.#unlessRevoked(content);
  }

  /** The token's principal, while the token is valid. Throws as `authenticate` does. */
  async verifyPass(pass: string): Promise<Principal> {
    return this.#unlessRevoked(this.#passes.get(pass) ?? (await this.#contentOf(pass)));
  }

  /** Throws as `authenticate` does. */
  async verifyApiKey(key: string): Promise<Principal> {
    if (!API_KEY_PATTERN.test(key)) throw unauthenticated();
    const digest = createHash('sha256').update(key).digest('base64');
    const cached = this.#apiKeys.get(digest);
    if (cached !== undefined) return cached;
    const { subject, tenant, grants, expiresAtMs } = await this.ports.bus.call(Auth.method.verifyApiKey, { key });
    const principal: Principal = {
      subject,
      tenant,
      grants: knownGrants(grants),
      credential: { kind: 'key', ...(expiresAtMs > 0n && { expiresAtMs: Number(expiresAtMs) }) },
    };
    this.#apiKeys.set(digest, principal, KEY_CACHE_MS);
    return principal;
  }

  async #unlessRevoked({ tokenId, expiresAtMs, ...holder }: TokenContent): Promise<Principal> {
    if (await this.#revocations.isRevoked(tokenId)) throw unauthenticated();
    return { ...holder, credential: { kind: 'token', tokenId, expiresAtMs } };
  }

  async #contentOf(pass: string): Promise<TokenContent> {
    const answer = await this.ports.bus.call(Auth.method.verifyPass, { pass });
    const { subject, tenant, tokenId } = answer;
    const content = {
      subject,
      tenant,
      tokenId,
      grants: knownGrants(answer.grants),
      expiresAtMs: Number(answer.expiresAtMs),
    };
    this.#learn(pass, content);
    return content;
  }

  #learn(pass: string, content: TokenContent): void {
    this.#passes.set(pass, content, content.expiresAtMs - this.#nowMs());
  }
}
