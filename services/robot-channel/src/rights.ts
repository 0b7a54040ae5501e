import { demandPermit, permits, type Principal } from '@weir/access';
import { NAME_PATTERN } from '@weir/protocol-turing';
import { streamNameOf } from './fleet.js';

/** Whoever may play a camera's stream may also have it started, and stop it for himself. */
export const mayWatch = (principal: Principal, tenant: string, robotId: string, camera: string): boolean =>
  permits(principal, 'play', tenant, streamNameOf(robotId, camera));

/** Whether some name that begins so fits the pattern. What follows a `*` can always be written behind the beginning. */
const reaches = (pattern: string, beginning: string): boolean => {
  const star = pattern.indexOf('*');
  if (star === -1) return pattern.startsWith(beginning);
  const literal = pattern.slice(0, star);
  return literal.startsWith(beginning) || beginning.startsWith(literal);
};

/** Whether the principal may watch any camera that the robot has or may get: then he knows of the robot. */
export const maySee = (principal: Principal, tenant: string, robotId: string): boolean =>
  principal.tenant === tenant &&
  principal.grants.some(({ verb, object }) => verb === 'play' && reaches(object, streamNameOf(robotId, '')));

const OF_ROBOT = /^([^/]+)\/./;

/**
 * The robot that a credential is bound to: it may publish streams of this one and of no other. Undefined for
 * credentials of people and services, which may publish more, or nothing.
 */
export const boundRobot = ({ grants }: Principal): string | undefined => {
  const robots = new Set(
    grants.flatMap(({ verb, object }) => (verb === 'publish' ? [OF_ROBOT.exec(object)?.[1] ?? ''] : [])),
  );
  const [robotId = ''] = robots;
  return robots.size === 1 && NAME_PATTERN.test(robotId) ? robotId : undefined;
};

/** Throws FORBIDDEN. Without a robot: to all of the tenant's. */
export const demandAdministration = (principal: Principal, robotId = '*'): void =>
  demandPermit(principal, 'administer', principal.tenant, `robots/${robotId}`);
