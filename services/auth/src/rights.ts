import { demandPermit, grant, grantsBeyond, type Grant, type Principal } from '@weir/access';
import { ErrorCode, WeirError } from '@weir/contracts';

/** What operators administer; objects are `applications/<appKey>`, `users/<username>` and so on. */
export type Administered = 'applications' | 'users' | 'tokens' | 'keys';

/** Throws FORBIDDEN. Without a name: to all of the kind. */
export const demandAdministration = (principal: Principal, kind: Administered, name = '*'): void =>
  demandPermit(principal, 'administer', principal.tenant, `${kind}/${name}`);

/** Nobody gives away, or gets by a detour, what he doesn't have. Throws FORBIDDEN. */
export const demandCovered = (principal: Principal, grants: readonly Grant[]): void => {
  const beyond = grantsBeyond(principal, grants);
  if (beyond.length === 0) return;
  const missing = beyond.map(({ verb, object }) => `${verb} ${object}`).join(', ');
  throw new WeirError(ErrorCode.FORBIDDEN, 'The credential does not have these rights itself', { missing });
};

/** An open application lets everybody publish and play, one with a hook whomever the hook's owner likes. */
export const RIGHTS_OF_AN_APPLICATION: readonly Grant[] = [grant('publish', '*'), grant('play', '*')];
