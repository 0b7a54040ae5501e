import { grant, type Principal } from '@weir/access';
import { describe, expect, it } from 'vitest';
import { boundRobot, maySee } from './rights.js';

const holder = (...grants: [verb: Parameters<typeof grant>[0], object: string][]): Principal => ({
  subject: 'key:1',
  tenant: 'demo',
  grants: grants.map(([verb, object]) => grant(verb, object)),
  credential: { kind: 'key' },
});

describe('a credential is bound to the robot', () => {
  it.each([
    ['r1', holder(['publish', 'r1/*'])],
    ['r1', holder(['publish', 'r1/front'], ['publish', 'r1/back'])],
    ['r1', holder(['publish', 'r1/*'], ['play', '*'])],
    ['r1.a_b-c', holder(['publish', 'r1.a_b-c/*'])],
    [undefined, holder()],
    [undefined, holder(['play', 'r1/*'])],
    [undefined, holder(['publish', '*'])],
    [undefined, holder(['publish', '*/front'])],
    [undefined, holder(['publish', 'r*/front'])],
    [undefined, holder(['publish', 'r1'])],
    [undefined, holder(['publish', 'r1/'])],
    [undefined, holder(['publish', '/front'])],
    [undefined, holder(['publish', 'r1/*'], ['publish', 'r2/*'])],
    [undefined, holder(['publish', 'r1/*'], ['publish', '*'])],
    [undefined, holder(['publish', 'r1/*'], ['publish', 'r1'])],
  ])('%s', (robotId, principal) => {
    expect(boundRobot(principal)).toBe(robotId);
  });
});

describe('who may see the robot r1', () => {
  it.each([
    [true, '*'],
    [true, 'r1/*'],
    [true, 'r1/front'],
    [true, 'r*'],
    [true, '*/front'],
    [true, 'r*/front'],
    [true, 'r1/f*t'],
    [false, 'r1'],
    [false, 'r10/*'],
    [false, 'r2/*'],
    [false, 'R1/*'],
    [false, 'r1x*'],
  ])('%s with play %s', (expected, object) => {
    expect(maySee(holder(['play', object]), 'demo', 'r1')).toBe(expected);
  });

  it('nobody of another tenant, and nobody by another verb', () => {
    expect(maySee(holder(['play', '*']), 'other', 'r1')).toBe(false);
    expect(maySee(holder(['administer', '*'], ['publish', '*']), 'demo', 'r1')).toBe(false);
  });
});
