import type { Database } from './database.js';

/** The same robots as in the credentials file that auth writes. */
export const DEMO_TENANT = 'demo';
export const DEMO_ROBOTS = ['robot_dog_sr_20001', 'robot_dog_sr_20002'] as const;
export const DEMO_CAMERAS = ['front', 'back'] as const;

/** Does nothing if the tenant has any robot, so that a robot that was removed doesn't come back. */
export const makeDemoRobots = async (database: Database): Promise<void> => {
  if ((await database.robot.count({ where: { tenant: DEMO_TENANT } })) > 0) return;
  await database.robot.createMany({
    data: DEMO_ROBOTS.map((id) => ({ tenant: DEMO_TENANT, id, demo: true })),
    skipDuplicates: true,
  });
  await database.camera.createMany({
    data: DEMO_ROBOTS.flatMap((robotId) => DEMO_CAMERAS.map((name) => ({ tenant: DEMO_TENANT, robotId, name }))),
    skipDuplicates: true,
  });
};

/** A database that was used in single-machine mode before still has the demo robots. */
export const removeDemoRobots = async (database: Database): Promise<number> =>
  (await database.robot.deleteMany({ where: { demo: true } })).count;
