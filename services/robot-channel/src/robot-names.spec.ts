import { ReservedNames } from '@weir/access';
import { startPostgres, startRedis, waitFor, type TestServer } from '@weir/testing';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openDatabase, type Database } from './database.js';
import { RobotNames } from './robot-names.js';

const log = { info: () => undefined, warn: () => undefined };

let postgres: TestServer;
let redisServer: TestServer;
let redis: Redis;
let database: Database;
let robotNames: RobotNames;

beforeAll(async () => {
  [postgres, redisServer] = await Promise.all([startPostgres(), startRedis()]);
  redis = new Redis(redisServer.url);
  database = await openDatabase(postgres.url, log);
  robotNames = new RobotNames({ database, redis, log });
}, 60_000);
afterAll(async () => {
  await robotNames.close();
  await database.$disconnect();
  redis.disconnect();
  await Promise.all([postgres.stop(), redisServer.stop()]);
});

it("reserves robots' names: existing ones, new ones until the robots go, and all of them after Redis has lost them", async () => {
  const names = new ReservedNames({ redis, log });
  const isReserved = async (name: string) => (await names.find('demo', name))?.owner === 'robots';
  await database.robot.create({ data: { tenant: 'demo', id: 'dog' } });
  robotNames.start();
  await waitFor(() => isReserved('dog/front'));
  await robotNames.reserve({ tenant: 'demo', robotId: 'cat' });
  expect([await isReserved('cat/front'), await isReserved('dog/front')]).toEqual([true, true]);
  await robotNames.release({ tenant: 'demo', robotId: 'cat' });
  expect([await isReserved('cat/front'), await isReserved('dog/front')]).toEqual([false, true]);
  await redis.flushall();
  await waitFor(async () => (await new ReservedNames({ redis, log }).find('demo', 'dog/front')) !== undefined);
});
