import { waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ofRobot } from './testing/grants.js';
import { App, Robot, type Client } from './testing/clients.js';
import { Instance, Surroundings } from './testing/service.js';

let around: Surroundings;
let here: Instance;
let there: Instance;
let clients: Client[];

const opened = async <C extends Client>(client: Promise<C>): Promise<C> => {
  clients.push(await client);
  return client;
};
const app = async (at = here, grants?: { verb: string; object: string }[]): Promise<App> =>
  opened(App.open(at.wsUrl, await around.auth.token(grants)));
const robot = (at = here, id = 'robot_dog_sr_20001'): Promise<Robot> =>
  opened(Robot.open(at.wsUrl, around.auth.key(ofRobot(id))));
const statuses = async (client: App): Promise<Record<string, string>> => {
  const { ret } = await client.asks('robot.list');
  return Object.fromEntries(
    ret.robots.map(({ robot_id, status }: { robot_id: string; status: string }) => [robot_id.slice(-1), status]),
  );
};

beforeAll(async () => {
  around = await Surroundings.start();
}, 60_000);
beforeEach(async () => {
  clients = [];
  [here, there] = await Promise.all([Instance.start(around), Instance.start(around)]);
});
afterEach(async () => {
  for (const client of clients) client.end();
  await Promise.all([here.stop(), there.stop()]);
});
afterAll(() => around.stop());

describe('a robot', () => {
  it('is online on every instance when it has connected, and offline when it has left', async () => {
    const clients = [await app(here), await app(there)];
    expect(await statuses(clients[0] as App)).toEqual({ 1: 'robot_offline', 2: 'robot_offline' });
    const dog = await robot(here);
    for (const client of clients) {
      await client.hears(({ act, arg }) => act === 'robot.state' && arg.status === 'online', 'the arrival');
      expect(await statuses(client)).toEqual({ 1: 'online', 2: 'robot_offline' });
    }
    dog.end();
    for (const client of clients) {
      await client.hears(({ act, arg }) => act === 'robot.state' && arg.status === 'robot_offline', 'the leaving');
      expect(await statuses(client)).toEqual({ 1: 'robot_offline', 2: 'robot_offline' });
      expect(client.states()).toEqual(['robot_dog_sr_20001 online', 'robot_dog_sr_20001 robot_offline']);
    }
  });

  it('without power is offline, though its socket never closed', async () => {
    await here.stop();
    here = await Instance.start(around, {
      WEIR_ROBOT_PING_INTERVAL_MS: '100',
      WEIR_ROBOT_SILENT_AFTER_MS: '400',
    });
    const [client, dog] = [await app(there), await robot(here)];
    await waitFor(() => client.states().length === 1);
    await new Promise((resolve) => setTimeout(resolve, 800));
    expect(client.states()).toEqual(['robot_dog_sr_20001 online']);
    dog.socket.pause();
    await waitFor(() => client.states().length === 2);
    expect(client.states()[1]).toBe('robot_dog_sr_20001 robot_offline');
    expect(await statuses(client)).toEqual({ 1: 'robot_offline', 2: 'robot_offline' });
  });

  it.each([
    ['the same instance', () => here],
    ['another instance', () => there],
  ])('that connects anew to %s closes its old socket, and is never offline', async (_where, at) => {
    const client = await app(here);
    const old = await robot(here);
    await waitFor(() => client.states().length === 1);
    const young = await robot(at());
    expect(await old.closes()).toBe(4409);
    expect(await statuses(client)).toEqual({ 1: 'online', 2: 'robot_offline' });
    young.end();
    await waitFor(() => client.states().length === 2);
    expect(client.states()).toEqual(['robot_dog_sr_20001 online', 'robot_dog_sr_20001 robot_offline']);
  });

  it('that connects many times at once keeps one socket', async () => {
    const robots = await Promise.all(Array.from({ length: 8 }, (_, index) => robot(index % 2 === 0 ? here : there)));
    await waitFor(() => robots.filter(({ closeCode }) => closeCode === undefined).length === 1);
    expect(here.channel.robots.count + there.channel.robots.count).toBe(1);
    expect(robots.flatMap(({ closeCode }) => closeCode ?? []).every((code) => code === 4409)).toBe(true);
    expect((await statuses(await app()))[1]).toBe('online');
  });

  it('is announced only to those who may see it', async () => {
    const [mine, others, foreign] = [
      await app(here, [{ verb: 'play', object: 'robot_dog_sr_20001/front' }]),
      await app(here, [{ verb: 'play', object: 'robot_dog_sr_20002/*' }]),
      await opened(App.open(here.wsUrl, await around.auth.token(undefined, { tenant: 'other' }))),
    ];
    await robot(there);
    await mine.hears(({ act }) => act === 'robot.state');
    await robot(there, 'robot_dog_sr_20002');
    await others.hears(({ act }) => act === 'robot.state');
    expect(mine.states()).toEqual(['robot_dog_sr_20001 online']);
    expect(others.states()).toEqual(['robot_dog_sr_20002 online']);
    expect(foreign.states()).toEqual([]);
    expect(await statuses(mine)).toEqual({ 1: 'online' });
    expect((await foreign.asks('robot.list')).ret).toEqual({ robots: [] });
  });
});

describe('robots of an instance', () => {
  it('that was killed are offline on the others, and online again when they have found another one', async () => {
    const client = await app(there);
    await robot(here);
    await waitFor(() => client.states().length === 1);
    await here.crash();
    await client.hears(({ act, arg }) => act === 'robot.state' && arg.status === 'robot_offline', 'the end');
    expect((await client.start('robot_dog_sr_20001')).err?.dm).toBe('robot_offline');
    await robot(there);
    await waitFor(() => client.states().length === 3);
    expect(await statuses(client)).toEqual({ 1: 'online', 2: 'robot_offline' });
  });

  it('that stops in order are told to go, and are offline at once', async () => {
    const client = await app(there);
    const dog = await robot(here);
    await waitFor(() => client.states().length === 1);
    await here.stop();
    expect(await dog.closes()).toBe(1001);
    await waitFor(() => client.states().length === 2);
  });

  it('are found again after Redis has lost everything', async () => {
    const client = await app(there);
    await robot(here);
    await waitFor(() => client.states().length === 1);
    await here.redis.flushall();
    await waitFor(async () => (await statuses(client))[1] === 'online');
    expect(client.states()).toEqual(['robot_dog_sr_20001 online']);
  });

  it('that come and go while the bus is away are known when it is back', async () => {
    const client = await app(there);
    const dog = await robot(here);
    await waitFor(() => client.states().length === 1);
    // Unlike a key, a token can be verified without the bus, once the instance has verified another one.
    await app(here);
    const token = await around.auth.token(ofRobot('robot_dog_sr_20002'));
    await around.nats.kill();
    await opened(Robot.open(here.wsUrl, token));
    await waitFor(() => here.channel.robots.count === 2);
    dog.end();
    await waitFor(() => here.channel.robots.count === 1);
    await around.nats.restart();
    await waitFor(() => here.bus.connected && there.bus.connected);
    await waitFor(() => client.states().includes('robot_dog_sr_20002 online'));
    await waitFor(() => client.states().includes('robot_dog_sr_20001 robot_offline'), { timeoutMs: 25_000 });
    expect(await statuses(client)).toEqual({ 1: 'robot_offline', 2: 'online' });
  }, 60_000);
});
