import { waitFor } from '@weir/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Instance, Surroundings } from './testing/service.js';

let around: Surroundings;

beforeAll(async () => {
  around = await Surroundings.start();
}, 60_000);
afterAll(() => around.stop());

const robotsDuring = async (env: Record<string, string>, work?: (service: Instance) => Promise<void>) => {
  const service = await Instance.start(around, env);
  try {
    await work?.(service);
    const robots = await service.channel.fleet.list('demo', 100);
    return robots.map(({ robotId, cameras, defaultCamera }) => [
      robotId,
      cameras.map(({ name }) => name),
      defaultCamera,
    ]);
  } finally {
    await service.stop();
  }
};

test('a single machine has two, which stay as their operator leaves them, and a cluster has none', async () => {
  expect(await robotsDuring({ WEIR_DEMO_ROBOTS: '0' })).toEqual([]);
  expect(await robotsDuring({})).toEqual([
    ['robot_dog_sr_20001', ['back', 'front'], 'front'],
    ['robot_dog_sr_20002', ['back', 'front'], 'front'],
  ]);
  const left = [['robot_dog_sr_20002', ['back', 'front'], 'front']];
  expect(await robotsDuring({}, ({ channel }) => channel.fleet.remove('demo', 'robot_dog_sr_20001'))).toEqual(left);
  expect(await robotsDuring({})).toEqual(left);
  const mine = async ({ channel }: Instance) => void (await channel.fleet.create('demo', 'mine', []));
  expect(await robotsDuring({ WEIR_SINGLE_MACHINE: '0' }, mine)).toEqual([['mine', [], undefined]]);
  expect(await robotsDuring({ WEIR_SINGLE_MACHINE: '0' })).toEqual([['mine', [], undefined]]);
});

test('instances that start together make them once', async () => {
  const first = await Instance.start(around, { WEIR_SINGLE_MACHINE: '0' });
  await first.channel.fleet.remove('demo', 'mine');
  await first.stop();
  const services = await Promise.all([Instance.start(around), Instance.start(around)]);
  await waitFor(async () => (await services[0].channel.fleet.list('demo', 100)).length === 2);
  await Promise.all(services.map((service) => service.stop()));
});
