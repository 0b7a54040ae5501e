import { AuthEvents } from '@weir/contracts';
import { z } from 'zod';
import { MAX_CREDENTIAL_LENGTH, type AccessPorts } from './access.js';
import type { CredentialRef } from './credential-ref.js';
import { Revocations } from './revocations.js';
import { TOKEN_ISSUER, TokenKeys, unauthenticated } from './token-keys.js';

/** Tokens for recording have an audience of their own, so that they open nothing else and other tokens don't open it. */
export const RECORDING_AUDIENCE = 'weir-recording';

const common = {
  sub: z.string().min(1),
  jti: z.string().min(1).max(128),
  exp: z.number(),
  tenant: z.string().min(1),
  api_id: z.string().min(1),
};

const recordingClaims = z.discriminatedUnion('kind', [
  z.object({ ...common, kind: z.literal('client') }),
  z.object({ ...common, kind: z.literal('supervisor'), monitor: z.string().min(1) }),
  z.object({ ...common, kind: z.literal('stats') }),
]);

interface Holder {
  readonly tenant: string;
  /** The API id of the master key that made the token. */
  readonly apiId: string;
  readonly credential: Extract<CredentialRef, { kind: 'token' }>;
}

/** Who holds a token for recording, and for what. */
export type RecordingHolder = Holder &
  (
    | { readonly tag: 'client'; readonly clientId: string }
    /** `monitor` is the client id of the client that this supervisor may watch. */
    | { readonly tag: 'supervisor'; readonly clientId: string; readonly monitor: string }
    | { readonly tag: 'stats' }
  );

const holderOf = (claims: z.infer<typeof recordingClaims>): RecordingHolder => {
  const { sub: clientId, jti: tokenId, exp, tenant, api_id: apiId } = claims;
  const holder: Holder = { tenant, apiId, credential: { kind: 'token', tokenId, expiresAtMs: exp * 1000 } };
  switch (claims.kind) {
    case 'client':
      return { ...holder, tag: 'client', clientId };
    case 'supervisor':
      return { ...holder, tag: 'supervisor', clientId, monitor: claims.monitor };
    case 'stats':
      return { ...holder, tag: 'stats' };
    default:
      return claims satisfies never;
  }
};

/** Finds out who holds a token for recording. One object serves a whole process. */
export class RecordingAccess {
  readonly #keys: TokenKeys;
  readonly #revocations: Revocations;

  constructor({ bus, redis, log, nowMs = Date.now }: AccessPorts) {
    this.#keys = new TokenKeys({ bus, log, nowMs });
    this.#revocations = new Revocations(redis, nowMs);
    bus.subscribe(AuthEvents.method.tokenRevoked, ({ tokenId }) => this.#revocations.note(tokenId));
  }

  /** Throws UNAUTHENTICATED for everything that isn't valid now, and UNAVAILABLE when it can't be checked. */
  async authenticate(token: string): Promise<RecordingHolder> {
    if (token.length > MAX_CREDENTIAL_LENGTH) throw unauthenticated();
    const claims = { issuer: TOKEN_ISSUER, audience: RECORDING_AUDIENCE, claims: recordingClaims };
    const holder = holderOf(await this.#keys.claimsOf(token, claims));
    if (await this.#revocations.isRevoked(holder.credential.tokenId)) throw unauthenticated();
    return holder;
  }
}
