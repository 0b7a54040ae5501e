import { grantsOfRole } from '@weir/access';
import type { GrantText } from '@weir/access/testing';

/** Whatever a client may be allowed that doesn't administer. */
export const everything: readonly GrantText[] = grantsOfRole('member');

export const ofRobot = (robotId: string): readonly GrantText[] => [{ verb: 'publish', object: `${robotId}/*` }];
