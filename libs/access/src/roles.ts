import { grant, VERBS, type Grant } from './grants.js';

/** Names for the usual sets of grants. Databases and tokens always hold the grants themselves, never a role. */
export const ROLES = ['viewer', 'publisher', 'member', 'operator'] as const;
export type Role = (typeof ROLES)[number];

export const grantsOfRole = (role: Role): Grant[] => {
  switch (role) {
    case 'viewer':
      return [grant('play', '*')];
    case 'publisher':
      return [grant('publish', '*'), grant('play', '*')];
    case 'member':
      return VERBS.filter((verb) => verb !== 'administer').map((verb) => grant(verb, '*'));
    case 'operator':
      return VERBS.map((verb) => grant(verb, '*'));
  }
};
