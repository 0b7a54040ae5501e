import { ErrorCode, Robots, WeirError } from '@weir/contracts';
import { waitFor } from '@weir/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ofRobot } from './testing/grants.js';
import { FakeMedia } from './testing/fake-media.js';
import { App, Robot, type Client } from './testing/clients.js';
import { Instance, Surroundings } from './testing/service.js';

const DOG = 'robot_dog_sr_20001';
const ENV = { WEIR_ROBOT_COMMAND_TIMEOUT_MS: '2000' };

let around: Surroundings;
let here: Instance;
let there: Instance;
let clients: Client[];

const opened = async <C extends Client>(client: Promise<C>): Promise<C> => {
  clients.push(await client);
  return client;
};
const app = async (at: Instance): Promise<App> => opened(App.open(at.wsUrl, await around.auth.token()));
const robot = async (at: Instance, media = around.media): Promise<Robot> => {
  const connected = await opened(Robot.open(at.wsUrl, around.auth.key(ofRobot(DOG)), media));
  await waitFor(() => at.channel.robots.count === 1);
  return connected;
};

beforeEach(async () => {
  clients = [];
  around = await Surroundings.start();
  [here, there] = await Promise.all([Instance.start(around, ENV), Instance.start(around, ENV)]);
}, 60_000);
afterEach(async () => {
  for (const client of clients) client.end();
  await Promise.all([here.stop(), there.stop()]);
  await around.stop();
});

describe('an instance that is killed', () => {
  it('leaves its streams to the instance that is asked next, although the media core still has them', async () => {
    const dog = await robot(there);
    expect((await (await app(here)).start(DOG)).err?.ec).toBe(0);
    const old = around.media.named(`${DOG}/front`).request;
    await here.crash();
    // The media core hasn't noticed the crash yet.
    around.media.streams.set(old.sessionId, { request: old, viewers: 0, pushUrl: '' });
    expect((await (await app(there)).start(DOG)).err?.ec).toBe(0);
    const young = around.media.named(`${DOG}/front`).request;
    expect([young.ownerId, young.sessionId === old.sessionId]).toEqual([there.bus.instanceId, false]);
    expect(dog.starts()).toBe(2);
  });

  it('leaves its stream’s name to somebody else who publishes under it', async () => {
    await robot(here);
    const { request } = await (async () => {
      await (await app(here)).start(DOG);
      return around.media.named(`${DOG}/front`);
    })();
    around.media.streams.clear();
    around.media.restart();
    const stranger = { ...request, sessionId: 'strange', labels: { appKey: 'defaultApp' } };
    around.media.streams.set('strange', { request: stranger, viewers: 0, pushUrl: '' });
    await waitFor(() => here.channel.streams.load.live === 0);
    expect((await (await app(here)).start(DOG)).err).toMatchObject({ ec: 106, dm: 'logic_error' });
    expect(around.media.has(`${DOG}/front`)).toBe(true);
  });
});

describe('a media node', () => {
  it('that says it is gone takes its streams with it, and another one takes the next', async () => {
    const [client, dog] = [await app(here), await robot(here)];
    expect((await client.start(DOG)).err?.ec).toBe(0);
    const media = await FakeMedia.start(around.nats.url, 'media-other');
    dog.media = media;
    around.media.restart();
    await waitFor(() => here.channel.streams.load.live === 0);
    await around.media.stop();
    expect((await client.start(DOG)).err?.ec).toBe(0);
    expect(media.has(`${DOG}/front`)).toBe(true);
    await media.stop();
  });

  it('that is not there makes starts fail at once, and they work when it is back', async () => {
    const [client, dog] = [await app(here), await robot(here)];
    await around.media.stop();
    expect((await client.start(DOG)).err).toMatchObject({ ec: 503, dm: 'connection_error' });
    const media = await FakeMedia.start(around.nats.url, 'media-other');
    dog.media = media;
    await waitFor(async () => (await client.start(DOG)).err?.ec === 0);
    await media.stop();
  });

  it('whose events are lost is asked: a stream it does not know any more has ended', async () => {
    const [client] = [await app(here), await robot(here)];
    await client.start(DOG);
    around.media.streams.clear();
    await waitFor(() => here.channel.streams.load.live === 0, { timeoutMs: 40_000, what: 'the end of the stream' });
  }, 60_000);
});

describe('Redis', () => {
  it('that is away makes new starts fail, and stops nothing that runs', async () => {
    const client = await app(here);
    const dog = await robot(here);
    expect((await client.start(DOG)).err?.ec).toBe(0);
    around.media.watch(`${DOG}/front`, 1);
    await around.redis.kill();
    expect((await client.start(DOG)).err?.ec).toBe(0);
    expect((await client.start(DOG, 'back')).err).toMatchObject({ ec: 503, dm: 'connection_error' });
    await around.redis.restart();
    await waitFor(async () => (await client.start(DOG, 'back')).err?.ec === 0);
    expect([dog.closeCode, client.closeCode]).toEqual([undefined, undefined]);
    expect(around.media.has(`${DOG}/front`)).toBe(true);
    await waitFor(async () => (await there.channel.presence.online('demo', [DOG])).has(DOG));
  }, 60_000);

  it('that has lost everything soon prevents a second start of a stream again', async () => {
    await robot(here);
    await (await app(here)).start(DOG);
    around.media.watch(`${DOG}/front`, 1);
    await here.redis.flushall();
    // The owner writes the lease again within seconds; from then on the other instance asks the owner.
    await waitFor(async () => (await here.redis.exists(`robot-channel:stream:demo/${DOG}/front`)) === 1);
    expect((await (await app(there)).start(DOG)).err?.ec).toBe(0);
    expect(around.media.ingests).toHaveLength(1);
  });
});

describe('the bus', () => {
  it('that was away for a while ends no stream, and robots can be commanded again', async () => {
    const [client, dog] = [await app(here), await robot(here)];
    await client.start(DOG);
    around.media.watch(`${DOG}/front`, 1);
    await around.nats.kill();
    expect((await client.start(DOG, 'back')).err).toMatchObject({ ec: 503, dm: 'connection_error' });
    await around.nats.restart();
    await waitFor(() => here.bus.connected && around.media.bus.connected);
    await waitFor(async () => (await client.start(DOG, 'back')).err?.ec === 0);
    expect([around.media.has(`${DOG}/front`), dog.closeCode]).toEqual([true, undefined]);
  }, 60_000);
});

describe('other services', () => {
  it('learn what cameras a robot has, and have streams started', async () => {
    await robot(there);
    const { bus } = around.auth;
    expect(await bus.call(Robots.method.getRobot, { tenant: 'demo', robotId: DOG })).toMatchObject({
      defaultCamera: 'front',
      online: true,
      cameras: [
        { name: 'back', streamName: `${DOG}/back`, pinned: false, pulled: false },
        { name: 'front', streamName: `${DOG}/front` },
      ],
    });
    const started = await bus.call(Robots.method.startStream, { tenant: 'demo', robotId: DOG });
    expect(started.outcome).toMatchObject({
      case: 'started',
      value: { streamName: `${DOG}/front`, nodeId: 'media-fake' },
    });
    const refused = await bus.call(Robots.method.startStream, { tenant: 'demo', robotId: DOG, camera: 'top' });
    expect(refused.outcome).toMatchObject({ case: 'refused', value: { ec: 103, dm: 'invalid_arg' } });
  });

  it('are told when there is no such robot', async () => {
    const asked = around.auth.bus.call(Robots.method.getRobot, { tenant: 'other', robotId: DOG });
    await expect(asked).rejects.toThrow(WeirError);
    await expect(asked).rejects.toMatchObject({ code: ErrorCode.NOT_FOUND });
  });
});

describe('a thousand robots in one process', () => {
  it('are all online, stay so, and each can be commanded', async () => {
    const COUNT = 1_000;
    await here.channel.database.robot.createMany({
      data: Array.from({ length: COUNT }, (_, index) => ({ tenant: 'demo', id: `many-${index}` })),
    });
    await here.channel.database.camera.createMany({
      data: Array.from({ length: COUNT }, (_, index) => ({ tenant: 'demo', robotId: `many-${index}`, name: 'front' })),
    });
    for (let from = 0; from < COUNT; from += 100)
      await Promise.all(
        Array.from({ length: 100 }, (_, index) =>
          opened(Robot.open(here.wsUrl, around.auth.key(ofRobot(`many-${from + index}`)), around.media)),
        ),
      );
    await waitFor(() => here.channel.robots.count === COUNT, { timeoutMs: 30_000 });
    // Longer than a robot may be silent, and longer than a lease in Redis lasts without renewal.
    await new Promise((resolve) => setTimeout(resolve, 9_000));
    const ids = Array.from({ length: COUNT }, (_, index) => `many-${index}`);
    expect((await there.channel.presence.online('demo', ids)).size).toBe(COUNT);
    const client = await app(there);
    for (const id of ['many-0', 'many-500', 'many-999']) expect((await client.start(id)).err?.ec).toBe(0);
  }, 120_000);
});
