import { setTimeout as sleep } from 'node:timers/promises';
import { EndReason } from '@weir/contracts';
import { Leases } from '@weir/leases';
import { waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { FakeMedia } from './testing/fake-media.js';
import { OriginalServer } from './testing/original-server.js';
import { KEYS, RelayInstance, startSurroundings, type Surroundings } from './testing/relay-instance.js';

let surroundings: Surroundings;
let media: FakeMedia;
let server: OriginalServer;
const instances: RelayInstance[] = [];

beforeAll(async () => {
  surroundings = await startSurroundings();
  media = await FakeMedia.start(surroundings.nats.url);
  server = await OriginalServer.start();
  for (const name of ['cam', 'lobby-1', 'attic']) media.publish(name);
});
afterEach(async () => {
  const running = instances.find(({ isOver }) => !isOver);
  await running?.request('POST', 'terminate', { body: { uri: server.uri } });
  await Promise.all(instances.splice(0).map((instance) => instance.stop()));
});
afterAll(async () => {
  await server.kill();
  await media.stop();
  await surroundings.stop();
});

const start = async (): Promise<RelayInstance> => {
  const instance = await RelayInstance.start(surroundings.env);
  instances.push(instance);
  return instance;
};
const push = (instance: RelayInstance, localStreamName = 'cam', as: string | null = KEYS.operator) =>
  instance.request('POST', 'push', {
    as,
    body: { uri: server.uri, localStreamName, remoteStreamName: `far-${localStreamName}` },
  });
const leasesOf = ({ context }: RelayInstance, owner: string, ttlMs: number) =>
  new Leases(context.redis, { prefix: 'relay-push:relay', owner, ttlMs });
const statusOf = async (instance: RelayInstance) => (await instance.list())[0]?.status;

describe('several instances', () => {
  it('list the same, and any of them ends what another runs', async () => {
    const [first, second] = [await start(), await start()];
    await push(first);
    await waitFor(async () => (await statusOf(second)) === 'PUBLISHING', { what: 'the state at the second' });
    expect(await push(second)).toMatchObject({ status: 409 });
    expect(await second.request('POST', 'terminate', { body: { localStreamName: 'cam' } })).toMatchObject({
      status: 200,
    });
    expect(await first.list()).toEqual([]);
    await waitFor(() => !server.published.has('far-cam'), { what: 'the end on the other server' });
  });

  it('end a relay together with the key of its request', async () => {
    const [first, second] = [await start(), await start()];
    await push(first, 'lobby-1', KEYS.ending);
    await push(first, 'attic');
    const statusOfLobby = async () =>
      (await second.list()).find(({ localStreamName }) => localStreamName === 'lobby-1');
    await waitFor(async () => (await statusOfLobby())?.status === 'PUBLISHING');
    surroundings.endKey(KEYS.ending);
    await waitFor(async () => (await statusOfLobby())?.status === 'FAILED', { what: 'the end of the relay' });
    expect((await statusOfLobby())?.reason).toMatch(/key or token .* has ended/);
    expect([server.published.has('far-lobby-1'), server.published.has('far-attic')]).toEqual([false, true]);
  });

  it('take over what an instance that stops leaves behind', async () => {
    const [first, second] = [await start(), await start()];
    await push(first);
    await waitFor(async () => (await statusOf(first)) === 'PUBLISHING');
    const before = server.published.get('far-cam');
    await first.stop();
    await waitFor(() => server.published.has('far-cam') && server.published.get('far-cam') !== before, {
      what: 'the relay from the second',
    });
    await waitFor(async () => (await statusOf(second)) === 'PUBLISHING', { what: 'the state at the second' });
    expect(await second.list()).toHaveLength(1);
  });

  it('never show a relay as up when its instance is gone', async () => {
    const [first, second] = [await start(), await start()];
    await push(first);
    await waitFor(async () => (await statusOf(second)) === 'PUBLISHING', { what: 'the state at the second' });
    const id = (await second.list())[0]?.id ?? '';
    // As after a kill: the instance wrote nothing to the database, and its lease has not expired yet.
    await first.context.bus.drain();
    const killed = leasesOf(second, 'relay-push-killed', 60_000);
    const epoch = await killed.take(id);
    expect(await statusOf(second)).toBe('PENDING');
    await first.stop();
    await killed.release(id, epoch);
    expect(await second.request('POST', 'terminate', { body: { uri: server.uri } })).toMatchObject({ status: 200 });
    expect(await second.list()).toEqual([]);
  });

  it('run a relay only once that is slow to begin, although it looks left behind', async () => {
    const first = await start();
    const { store } = first.relayPush;
    const add = store.add.bind(store);
    // Longer than the interval at which an instance looks for relays that others have left behind.
    store.add = async (...row) => add(...row).finally(() => sleep(1_000));
    const before = server.heard.length;
    expect(await push(first)).toMatchObject({ status: 200 });
    await waitFor(async () => (await statusOf(first)) === 'PUBLISHING', { what: 'the state' });
    expect(server.heard.slice(before)).toEqual(['connection', 'publishStream']);
  });

  it('show for a relay what the instance that runs it counts', async () => {
    const [first, second] = [await start(), await start()];
    await push(first);
    await waitFor(async () => ((await second.list())[0]?.stats?.['packets'] ?? 0) > 0, { what: 'packets' });
    expect((await second.list())[0]).toMatchObject({ status: 'PUBLISHING' });
  });

  it('show for a relay what it leaves out', async () => {
    const [first, second] = [await start(), await start()];
    server.amends = (answer) => answer.replace(/m=audio \d+/, 'm=audio 0');
    await push(first);
    server.amends = (answer) => answer;
    const [item] = await second.list();
    expect(item?.notCarried).toEqual(["audio opus: the other server doesn't take it"]);
  });

  it('never run the same relay at once: the one that has lost the lease lets go', async () => {
    const first = await start();
    await push(first);
    await waitFor(async () => (await statusOf(first)) === 'PUBLISHING');
    const [item] = await first.list();
    // As if the first instance had been paused for longer than its lease lasts.
    await leasesOf(first, 'relay-push-other', 1_500).take(item?.id ?? '');
    await waitFor(() => !server.published.has('far-cam'), { what: 'letting go' });
    // The other instance never does anything; when its lease ends, the first one goes on.
    await waitFor(async () => (await statusOf(first)) === 'PUBLISHING', { what: 'the relay' });
  });

  it('take over no relay that its instance still runs, even if Redis has forgotten who owns it', async () => {
    const [first, second] = [await start(), await start()];
    await push(first);
    await waitFor(async () => (await statusOf(second)) === 'PUBLISHING', { what: 'the state at the second' });
    const here = server.published.get('far-cam');
    const lease = `relay-push:relay:${(await first.list())[0]?.id}`;
    const forgetting = setInterval(() => void second.context.redis.del(lease), 5);
    const looked = server.heard.length;
    await sleep(3_000);
    clearInterval(forgetting);
    expect(server.published.get('far-cam')).toBe(here);
    expect(server.heard.slice(looked)).not.toContain('publishStream');
  });

  it('keep relays running while Redis and PostgreSQL are gone', async () => {
    const first = await start();
    await push(first);
    await waitFor(async () => (await statusOf(first)) === 'PUBLISHING');
    const here = server.published.get('far-cam');
    await Promise.all([surroundings.redis.kill(), surroundings.postgres.kill()]);
    try {
      const before = here?.received.video.size ?? 0;
      await waitFor(() => (here?.received.video.size ?? 0) > before + 150, { what: 'video' });
    } finally {
      await Promise.all([surroundings.redis.restart(), surroundings.postgres.restart()]);
    }
    await waitFor(async () => (await first.request('GET', 'find_all')).status === 200, { what: 'the list' });
    expect(await statusOf(first)).toBe('PUBLISHING');
    expect(server.published.get('far-cam')).toBe(here);
  });
});

describe('a relay that ends while PostgreSQL is gone', () => {
  it('is not listed, and makes room for the next when PostgreSQL is back', async () => {
    const instance = await start();
    media.publish('short');
    await push(instance, 'short');
    await waitFor(async () => (await statusOf(instance)) === 'PUBLISHING');
    await surroundings.postgres.kill();
    try {
      media.endStream('short', EndReason.CLIENT);
      await waitFor(() => !server.published.has('far-short'), { what: 'the end on the other server' });
    } finally {
      await surroundings.postgres.restart();
    }
    await waitFor(async () => (await instance.request('GET', 'find_all')).status === 404, { what: 'an empty list' });
    media.publish('short');
    await waitFor(async () => (await push(instance, 'short')).status === 200, { what: 'the next relay' });
  });
});

describe('who may relay', () => {
  it('is nobody without a key, and nobody without the grant', async () => {
    const instance = await start();
    for (const path of ['push', 'pull', 'find_all', 'terminate']) {
      expect(await instance.request('POST', path, { as: null, body: {} })).toMatchObject({ status: 401 });
      expect(await instance.request('POST', path, { as: `${KEYS.viewer.slice(0, -1)}x`, body: {} })).toMatchObject({
        status: 401,
      });
    }
    expect(await push(instance, 'cam', KEYS.viewer)).toMatchObject({ status: 403 });
    expect(await instance.request('GET', 'find_all', { as: KEYS.viewer })).toMatchObject({ status: 403 });
    expect(await instance.request('POST', 'terminate', { as: KEYS.viewer, body: { uri: 'x' } })).toMatchObject({
      status: 403,
    });
  });

  it('is decided for each stream, and sees no other streams', async () => {
    const instance = await start();
    expect(await push(instance, 'attic', KEYS.lobby)).toMatchObject({ status: 403 });
    expect(await push(instance, 'lobby-1', KEYS.lobby)).toMatchObject({ status: 200 });
    expect(await push(instance, 'attic')).toMatchObject({ status: 200 });
    expect((await instance.list(KEYS.lobby)).map(({ localStreamName }) => localStreamName)).toEqual(['lobby-1']);
    expect(await instance.list()).toHaveLength(2);
    expect(await instance.list(KEYS.neighbour)).toEqual([]);
    const body = { uri: server.uri };
    expect(await instance.request('POST', 'terminate', { as: KEYS.neighbour, body })).toMatchObject({ status: 404 });
    expect(await instance.request('POST', 'terminate', { as: KEYS.lobby, body })).toMatchObject({ status: 200 });
    expect((await instance.list()).map(({ localStreamName }) => localStreamName)).toEqual(['attic']);
  });

  it('must say what is to be terminated', async () => {
    expect(await (await start()).request('POST', 'terminate', { body: '' })).toMatchObject({ status: 400 });
  });
});
