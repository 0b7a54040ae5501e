import { demandPermit, grant, grantsBeyond, type Grant, type Principal } from '@weir/access';
import { ErrorCode, WeirError } from '@weir/contracts';

/** What operators administer; objects are `applications/<appKey>`, `users/<username>` and so on. */
export type Administered = 'applications' | 'users' | 'tokens' | 'keys';

/** Demands the right to administer one object, or without a name, all of its kind. Throws FORBIDDEN. */
export const demandAdministration = (principal: Principal, kind: Administered, name = '*'): void =>
  demandPermit(principal, 'administer', principal.tenant, `${kind}/${name}`);

/** A caller can neither grant nor indirectly gain rights that its credential lacks. Throws FORBIDDEN. */
export const demandCovered = (principal: Principal, grants: readonly Grant[]): void => {
  const beyond = grantsBeyond(principal, grants);
  if (beyond.length === 0) return;
  const missing = beyond.map(({ verb, object }) => `${verb} ${object}`).join(', ');
  throw new WeirError(ErrorCode.FORBIDDEN, 'Your credential lacks rights that this request would grant', { missing });
};

/** Whoever has a master key can let anybody publish, record and watch recorded sessions. */
export const RIGHTS_OF_A_MASTER_KEY: readonly Grant[] = [
  grant('publish', 'recordings/*'),
  grant('record', 'recordings/*'),
  grant('play', 'recordings/*'),
];

/** An open application lets everybody publish and play; one with a hook lets anybody do so whom the hook accepts. */
export const RIGHTS_OF_AN_APPLICATION: readonly Grant[] = [grant('publish', '*'), grant('play', '*')];
