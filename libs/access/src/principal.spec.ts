import { ErrorCode } from '@weir/contracts';
import { describe, expect, test } from 'vitest';
import { grant, VERBS, type Grant, type Verb } from './grants.js';
import { demandPermit, grantsBeyond, permits, type Principal } from './principal.js';
import { grantsOfRole, ROLES, type Role } from './roles.js';

const principalWith = (grants: readonly Grant[]): Principal => ({
  subject: 'user:1',
  tenant: 'acme',
  grants,
  credential: { kind: 'key' },
});

/** What each role may do in its own tenant. */
const LAW: Readonly<Record<Role, readonly Verb[]>> = {
  viewer: ['play'],
  publisher: ['publish', 'play'],
  member: ['publish', 'play', 'relay', 'record', 'command'],
  operator: ['publish', 'play', 'relay', 'record', 'command', 'administer'],
};
const OBJECTS = ['robot1/front', 'users/demo', 'applications/defaultApp', '*'];
const TENANTS = ['acme', 'other', 'acme2', 'Acme', ''];

const matrix = ROLES.flatMap((role) =>
  VERBS.flatMap((verb) => OBJECTS.flatMap((object) => TENANTS.map((tenant) => ({ role, verb, object, tenant })))),
);

describe('permits: role × verb × object × tenant', () => {
  test.each(matrix)('$role: $verb $object of tenant "$tenant" as the table says', ({ role, verb, object, tenant }) => {
    const expected = tenant === 'acme' && LAW[role].includes(verb);
    expect(permits(principalWith(grantsOfRole(role)), verb, tenant, object)).toBe(expected);
  });

  test('the matrix is as large as it should be', () => {
    expect(matrix).toHaveLength(4 * 6 * 4 * 5);
  });
});

describe('permits: patterns', () => {
  const robot = principalWith([grant('publish', 'robot1/*'), grant('play', 'robot*/front')]);
  test.each([
    ['publish', 'robot1/front', true],
    ['publish', 'robot2/front', false],
    ['play', 'robot2/front', true],
    ['play', 'robot2/rear', false],
    ['relay', 'robot1/front', false],
    ['administer', 'robot1/front', false],
  ] as const)('%s %s: %s', (verb, object, expected) => {
    expect(permits(robot, verb, 'acme', object)).toBe(expected);
    expect(permits(robot, verb, 'other', object)).toBe(false);
  });

  test('a principal without grants may do nothing', () => {
    for (const verb of VERBS) expect(permits(principalWith([]), verb, 'acme', 'robot1')).toBe(false);
  });
});

test('demandPermit throws FORBIDDEN and says what was wanted', () => {
  const wanted = { code: ErrorCode.FORBIDDEN, fields: { verb: 'publish', object: 'robot1' } };
  expect(() => demandPermit(principalWith([]), 'publish', 'acme', 'robot1')).toThrow(expect.objectContaining(wanted));
  expect(() => demandPermit(principalWith(grantsOfRole('member')), 'publish', 'acme', 'robot1')).not.toThrow();
});

test('grantsBeyond returns the grants that a principal wants to pass on but does not have', () => {
  const robot = principalWith([grant('publish', 'robot1/*'), grant('administer', 'tokens/*')]);
  expect(grantsBeyond(robot, [grant('publish', 'robot1/front')])).toEqual([]);
  const beyond = [grant('publish', 'robot*'), grant('play', 'robot1/front')];
  expect(grantsBeyond(robot, [grant('publish', 'robot1/front'), ...beyond])).toEqual(beyond);
});
