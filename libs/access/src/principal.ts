import { ErrorCode, WeirError } from '@weir/contracts';
import { fits, grantCovers, type Grant, type Verb } from './grants.js';

/** The credential that the principal presented. */
export type Credential =
  | { readonly kind: 'token'; readonly tokenId: string; readonly expiresAtMs: number }
  /** The principal's subject names the key. */
  | { readonly kind: 'key'; readonly expiresAtMs?: number | undefined };

/** Who the client is and what it may do. */
export interface Principal {
  /** `user:<id>`, `key:<id>`, or the name that an operator gave when minting the token. */
  readonly subject: string;
  readonly tenant: string;
  readonly grants: readonly Grant[];
  readonly credential: Credential;
}

/**
 * The one access decision: may the principal do `verb` to the object `object` of `tenant`? No grant reaches into
 * another tenant, and no verb includes another: to administer and to publish, a principal needs both grants.
 */
export const permits = (principal: Principal, verb: Verb, tenant: string, object: string): boolean =>
  principal.tenant === tenant &&
  principal.grants.some((candidate) => candidate.verb === verb && fits(candidate.object, object));

/** Throws WeirError FORBIDDEN when `permits` is false. */
export const demandPermit = (principal: Principal, verb: Verb, tenant: string, object: string): void => {
  if (permits(principal, verb, tenant, object)) return;
  throw new WeirError(ErrorCode.FORBIDDEN, 'The credential has no grant for this', { verb, object });
};

/** The wanted grants that the principal can't pass on because it doesn't have them itself. */
export const grantsBeyond = (principal: Principal, wanted: readonly Grant[]): Grant[] =>
  wanted.filter((narrow) => !principal.grants.some((wide) => grantCovers(wide, narrow)));
