import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { Auth, ErrorCode, isWeirError, WeirError } from '@weir/contracts';
import {
  createLocalJWKSet,
  errors,
  jwtVerify,
  type FlattenedJWSInput,
  type JSONWebKeySet,
  type JWSHeaderParameters,
} from 'jose';
import { z } from 'zod';

export const TOKEN_ISSUER = 'weir';
const CLOCK_TOLERANCE_S = 5;

export const unauthenticated = (cause?: unknown): WeirError =>
  new WeirError(ErrorCode.UNAUTHENTICATED, 'The credential is not valid', {}, { cause });

/** The part of the bus that this library needs. */
export interface BusCaller {
  call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    options?: { readonly deadlineMs?: number },
  ): Promise<MessageShape<O>>;
}

export interface AccessLog {
  warn(fields: object, message: string): void;
}

type KeyLookup = ReturnType<typeof createLocalJWKSet>;
type TokenKey = Awaited<ReturnType<KeyLookup>>;

/** A set older than this is fetched again, so that a key that was taken out stops verifying. */
const MAX_AGE_MS = 60_000;
/** The shortest time between two requests for the set, however many tokens name unknown keys. */
const MIN_REFETCH_INTERVAL_MS = 3_000;

const keySetSchema = z.object({
  keys: z.array(z.looseObject({ kty: z.literal('OKP'), crv: z.literal('Ed25519'), kid: z.string(), x: z.string() })),
});

const parseKeySet = (json: string): JSONWebKeySet => keySetSchema.parse(JSON.parse(json));

/** The public keys that verify tokens: fetched from the auth service over the bus, and kept while it is away. */
export class TokenKeys {
  #lookup: KeyLookup | undefined;
  #fetchedAtMs = Number.NEGATIVE_INFINITY;
  #attemptedAtMs = Number.NEGATIVE_INFINITY;
  #fetching: Promise<void> | undefined;

  constructor(private readonly ports: { bus: BusCaller; log: AccessLog; nowMs: () => number }) {}

  /** Throws UNAVAILABLE when no set has ever arrived, jose's JWKSNoMatchingKey when the key isn't in the set. */
  readonly find = async (header: JWSHeaderParameters, token: FlattenedJWSInput): Promise<TokenKey> => {
    if (this.#lookup === undefined) await this.#fetch();
    const lookup = this.#lookup;
    if (lookup === undefined) {
      throw new WeirError(ErrorCode.UNAVAILABLE, 'The keys that verify tokens are not available now; try again');
    }
    if (this.ports.nowMs() - this.#fetchedAtMs > MAX_AGE_MS && this.#mayFetch()) void this.#fetch();
    try {
      return await lookup(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey) || !(this.#fetching !== undefined || this.#mayFetch()))
        throw error;
      await this.#fetch();
      return await (this.#lookup ?? lookup)(header, token);
    }
  };

  /** Throws UNAUTHENTICATED for a token that isn't signed, isn't for this audience, has expired or isn't readable. */
  async claimsOf<Claims>(
    token: string,
    { issuer, audience, claims }: { issuer: string; audience: string; claims: z.ZodType<Claims> },
  ): Promise<Claims> {
    try {
      const { payload } = await jwtVerify(token, this.find, {
        issuer,
        audience,
        algorithms: ['EdDSA'],
        requiredClaims: ['exp', 'iat', 'jti', 'sub'],
        clockTolerance: CLOCK_TOLERANCE_S,
        currentDate: new Date(this.ports.nowMs()),
      });
      return claims.parse(payload);
    } catch (error) {
      if (isWeirError(error)) throw error;
      if (error instanceof errors.JOSEError || error instanceof z.ZodError) throw unauthenticated(error);
      throw error;
    }
  }

  #mayFetch(): boolean {
    return this.ports.nowMs() - this.#attemptedAtMs >= MIN_REFETCH_INTERVAL_MS;
  }

  /** Never rejects: without an answer the last good set stays in use. */
  #fetch(): Promise<void> {
    this.#fetching ??= this.#fetchOnce().finally(() => {
      this.#fetching = undefined;
    });
    return this.#fetching;
  }

  async #fetchOnce(): Promise<void> {
    this.#attemptedAtMs = this.ports.nowMs();
    try {
      const { json } = await this.ports.bus.call(Auth.method.getJwks, {});
      this.#lookup = createLocalJWKSet(parseKeySet(json));
      this.#fetchedAtMs = this.ports.nowMs();
    } catch (error) {
      this.ports.log.warn({ err: error }, 'the keys that verify tokens could not be fetched');
    }
  }
}
