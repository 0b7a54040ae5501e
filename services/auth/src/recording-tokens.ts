import type { TokenKind } from '@weir/protocol-eyeson';
import type { ApiKeys, VerifiedMasterKey } from './api-keys.js';
import type { LoginLimits } from './login-limits.js';
import type { Tokens } from './tokens.js';

export interface RecordingTokenAttempt {
  readonly masterKey: string;
  readonly kind: TokenKind;
  readonly clientId: string;
  /** The client that a supervisor may watch. */
  readonly monitor?: string;
  readonly ttlS: number;
  /** The caller's IP address. */
  readonly address: string;
}

export type RecordingTokenOutcome =
  | { readonly tag: 'accepted'; readonly token: string }
  | { readonly tag: 'refused' }
  /** The token would live too long. */
  | { readonly tag: 'too-long'; readonly longestS: number }
  /** Too many failures from this address. */
  | { readonly tag: 'limited'; readonly retryAfterMs: number };

/** All wrong master keys of an address are counted together, as if they were passwords of this user name. */
const COUNTED_AS = 'master key';

export interface RecordingTokensPorts {
  readonly apiKeys: Pick<ApiKeys, 'verifyMaster'>;
  readonly limits: Pick<LoginLimits, 'admit' | 'waitOf'>;
  readonly tokens: Pick<Tokens, 'issueForRecording' | 'revoke'>;
  readonly maxTtlS: number;
}

/** Turns a master key into tokens for recording. */
export class RecordingTokens {
  constructor(private readonly ports: RecordingTokensPorts) {}

  /**
   * A right key counts as no attempt, because one backend makes the tokens of many clients at the same time. Throws
   * UNAVAILABLE when attempts can't be counted.
   */
  async attempt({ masterKey, address, ...request }: RecordingTokenAttempt): Promise<RecordingTokenOutcome> {
    const { apiKeys, limits } = this.ports;
    const wait = await limits.waitOf(COUNTED_AS, address);
    if (wait.tag === 'waiting') return { tag: 'limited', retryAfterMs: wait.retryAfterMs };
    const master = await apiKeys.verifyMaster(masterKey);
    if (master !== undefined) return this.#issue(master, masterKey, request);
    const admission = await limits.admit(COUNTED_AS, address);
    return admission.tag === 'waiting' ? { tag: 'limited', retryAfterMs: admission.retryAfterMs } : { tag: 'refused' };
  }

  async #issue(
    { keyId, tenant, apiId, expiresAtMs }: VerifiedMasterKey,
    masterKey: string,
    { kind, clientId, monitor, ttlS }: Omit<RecordingTokenAttempt, 'masterKey' | 'address'>,
  ): Promise<RecordingTokenOutcome> {
    const { apiKeys, tokens, maxTtlS } = this.ports;
    const longestS = Math.min(maxTtlS, Math.floor(((expiresAtMs ?? Infinity) - Date.now()) / 1000));
    if (ttlS > longestS) return { tag: 'too-long', longestS };
    const issued = await tokens.issueForRecording({
      ...{ kind, clientId, tenant, apiId, ttlS, issuer: `key:${keyId}` },
      ...(monitor !== undefined && { monitor }),
    });
    // If the key was removed before this token was stored, nothing has revoked the token yet.
    if ((await apiKeys.verifyMaster(masterKey)) !== undefined) return { tag: 'accepted', token: issued.token };
    await tokens.revoke(issued.tokenId);
    return { tag: 'refused' };
  }
}
