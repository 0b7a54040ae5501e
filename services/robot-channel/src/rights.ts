import { demandPermit, permits, type Principal } from '@weir/access';
import { NAME_PATTERN } from '@weir/protocol-turing';
import { streamNameOf } from './fleet.js';

/** A principal that may play a camera's stream may also have it started, and may withdraw its own request. */
export const mayWatch = (principal: Principal, tenant: string, robotId: string, camera: string): boolean =>
  permits(principal, 'play', tenant, streamNameOf(robotId, camera));

/** Whoever may record a camera's stream may also end what others record of it. */
export const mayRecord = (principal: Principal, tenant: string, robotId: string, camera: string): boolean =>
  permits(principal, 'record', tenant, streamNameOf(robotId, camera));

/**
 * Whether some name with this beginning matches the pattern. What follows a `*` can always be appended to the
 * beginning.
 */
const reaches = (pattern: string, beginning: string): boolean => {
  const star = pattern.indexOf('*');
  if (star === -1) return pattern.startsWith(beginning);
  const literal = pattern.slice(0, star);
  return literal.startsWith(beginning) || beginning.startsWith(literal);
};

/** Whether the principal may watch any camera that the robot has or could get; if so, it may know of the robot. */
export const maySee = (principal: Principal, tenant: string, robotId: string): boolean =>
  principal.tenant === tenant &&
  principal.grants.some(({ verb, object }) => verb === 'play' && reaches(object, streamNameOf(robotId, '')));

const OF_ROBOT = /^([^/]+)\/./;

/**
 * The robot that a credential is bound to: the credential may publish streams of this robot and nothing else. Undefined
 * for credentials of people and services, which may publish more, or nothing.
 */
export const boundRobot = ({ grants }: Principal): string | undefined => {
  const robots = new Set(
    grants.flatMap(({ verb, object }) => (verb === 'publish' ? [OF_ROBOT.exec(object)?.[1] ?? ''] : [])),
  );
  const [robotId = ''] = robots;
  return robots.size === 1 && NAME_PATTERN.test(robotId) ? robotId : undefined;
};

/** Demands `administer` of one robot or, without an id, of all robots of the tenant. Throws FORBIDDEN. */
export const demandAdministration = (principal: Principal, robotId = '*'): void =>
  demandPermit(principal, 'administer', principal.tenant, `robots/${robotId}`);
