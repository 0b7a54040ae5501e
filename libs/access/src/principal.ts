import { ErrorCode, WeirError } from '@weir/contracts';
import { fits, grantCovers, type Grant, type Verb } from './grants.js';

/** How somebody proved who he is. */
export type Credential =
  | { readonly kind: 'token'; readonly tokenId: string; readonly expiresAtMs: number }
  /** Named by the principal's subject. */
  | { readonly kind: 'key'; readonly expiresAtMs?: number | undefined };

/** Who somebody is and what he may do. */
export interface Principal {
  /** `user:<id>`, `key:<id>`, or the name that an operator gave when he minted the token. */
  readonly subject: string;
  readonly tenant: string;
  readonly grants: readonly Grant[];
  readonly credential: Credential;
}

/**
 * The one decision: may the principal do `verb` to the object `object` of `tenant`? No grant reaches into another
 * tenant, and no verb contains another one: who administers and also publishes has both grants.
 */
export const permits = (principal: Principal, verb: Verb, tenant: string, object: string): boolean =>
  principal.tenant === tenant &&
  principal.grants.some((candidate) => candidate.verb === verb && fits(candidate.object, object));

/** Throws WeirError FORBIDDEN where `permits` says no. */
export const demandPermit = (principal: Principal, verb: Verb, tenant: string, object: string): void => {
  if (permits(principal, verb, tenant, object)) return;
  throw new WeirError(ErrorCode.FORBIDDEN, 'The credential does not grant this', { verb, object });
};

/** Those of the wanted grants that the principal can't hand on because it doesn't have them itself. */
export const grantsBeyond = (principal: Principal, wanted: readonly Grant[]): Grant[] =>
  wanted.filter((narrow) => !principal.grants.some((wide) => grantCovers(wide, narrow)));
