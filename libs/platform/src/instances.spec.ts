import { setTimeout as sleep } from 'node:timers/promises';
import { Bus } from '@weir/bus';
import { InstanceEvents, InstanceProbe } from '@weir/contracts';
import { FaultyLink, startNats, waitFor, type TestServer } from '@weir/testing';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { Instances } from './instances.js';

const SILENT_AFTER_MS = 1_000;
/** Longer than the allowed silence, even of an instance that is still connected to NATS. */
const LONG_MS = 4_000;

let nats: TestServer;
const open: (() => Promise<void>)[] = [];
const links: FaultyLink[] = [];

beforeAll(async () => {
  nats = await startNats();
});
afterEach(async () => {
  for (const link of links) {
    link.delayMs = 0;
    link.release();
  }
  for (const close of open.splice(0).reverse()) await close();
});
afterAll(() => nats.stop());

const quiet = () => undefined;

async function connect(service: string, url = nats.url): Promise<Bus> {
  const log = { debug: quiet, info: quiet, warn: quiet, error: quiet };
  // So long that no bus notices a dead connection during a test.
  const bus = await Bus.connect({ url, service, instanceId: `${service}-test`, pingIntervalMs: 60_000, log });
  open.push(() => bus.drain());
  return bus;
}

async function faultyLink(): Promise<FaultyLink> {
  const link = await FaultyLink.open({ port: nats.port });
  open.push(() => link.close());
  links.push(link);
  return link;
}

function watch(bus: Bus, times: { silentAfterMs: number; askAfterMs?: number } = { silentAfterMs: SILENT_AFTER_MS }) {
  const lost: string[] = [];
  const instances = new Instances({
    bus,
    service: 'tiny',
    ...times,
    onLost: (instanceId) => lost.push(instanceId),
  });
  open.push(() => instances.close());
  return { instances, lost };
}

/** Publishes signs of life and answers probes as a service does. */
function speaking(bus: Bus): { stop(): void } {
  bus.serve(InstanceProbe.method.answer, () => ({}));
  const timer = setInterval(
    () => bus.publish(InstanceEvents.method.alive, { service: 'tiny', instanceId: bus.instanceId, startedAtMs: 1n }),
    200,
  );
  open.push(async () => clearInterval(timer));
  return { stop: () => clearInterval(timer) };
}

it('considers no instance dead while NATS stands still with its connections up', async () => {
  const link = await faultyLink();
  const [watcher, speaker] = [
    await connect('watcher', link.through(nats.url)),
    await connect('tiny', link.through(nats.url)),
  ];
  const { instances, lost } = watch(watcher);
  const voice = speaking(speaker);
  await waitFor(() => instances.has('tiny-test'));
  link.hold();
  await sleep(LONG_MS);
  expect(lost).toEqual([]);
  link.release();
  await sleep(2 * SILENT_AFTER_MS);
  expect(lost).toEqual([]);
  voice.stop();
  await speaker.drain();
  await waitFor(() => lost.length === 1, { timeoutMs: 20_000 });
});

it('considers no instance dead when only its own connection to NATS has stalled', async () => {
  const link = await faultyLink();
  const [watcher, speaker] = [await connect('watcher', link.through(nats.url)), await connect('tiny')];
  const { instances, lost } = watch(watcher);
  speaking(speaker);
  await waitFor(() => instances.has('tiny-test'));
  link.hold();
  await sleep(LONG_MS);
  link.release();
  await sleep(2 * SILENT_AFTER_MS);
  expect(lost).toEqual([]);
});

it('considers no instance dead after its own event loop was blocked', async () => {
  const [watcher, speaker] = [await connect('watcher'), await connect('tiny')];
  const { instances, lost } = watch(watcher);
  speaking(speaker);
  await waitFor(() => instances.has('tiny-test'));
  const untilMs = performance.now() + LONG_MS;
  while (performance.now() < untilMs);
  await sleep(2 * SILENT_AFTER_MS);
  expect(lost).toEqual([]);
});

it('considers no instance dead whose messages arrive late over a slow bus', async () => {
  const link = await faultyLink();
  const [watcher, speaker] = [await connect('watcher'), await connect('tiny', link.through(nats.url))];
  const { instances, lost } = watch(watcher);
  speaking(speaker);
  await waitFor(() => instances.has('tiny-test'));
  link.delayMs = 2 * SILENT_AFTER_MS;
  await sleep(LONG_MS);
  expect(lost).toEqual([]);
});

it('reports an instance lost when its connection is gone, and later one that does not answer', async () => {
  const link = await faultyLink();
  const [watcher, paused, ended] = [
    await connect('watcher'),
    await connect('tiny', link.through(nats.url)),
    await connect('ended'),
  ];
  const { instances, lost } = watch(watcher);
  for (const bus of [paused, ended]) speaking(bus);
  await waitFor(() => instances.list().length === 2);
  link.hold();
  await ended.drain();
  await waitFor(() => lost.length === 1, { timeoutMs: 20_000 });
  expect(lost).toEqual(['ended-test']);
  await waitFor(() => lost.length === 2, { timeoutMs: 20_000 });
  expect(lost).toEqual(['ended-test', 'tiny-test']);
});

it('calls no instance gone while it cannot hear, nor before it has listened for some time', async () => {
  const link = await faultyLink();
  const { instances } = watch(await connect('watcher', link.through(nats.url)));
  expect(instances.isGone('tiny-never')).toBe(false);
  await waitFor(() => instances.isGone('tiny-never'), { timeoutMs: 20_000 });
  link.hold();
  await waitFor(() => !instances.isGone('tiny-never'));
  link.release();
});

it('asked early, reports an instance lost that NATS does not know for a second, long before its time of silence', async () => {
  const link = await faultyLink();
  const [watcher, paused, ended] = [
    await connect('watcher'),
    await connect('tiny', link.through(nats.url)),
    await connect('ended'),
  ];
  const { instances, lost } = watch(watcher, { silentAfterMs: 60_000, askAfterMs: 500 });
  for (const bus of [paused, ended]) speaking(bus);
  await waitFor(() => instances.list().length === 2);
  link.hold();
  await ended.drain();
  await waitFor(() => lost.length > 0);
  await sleep(2 * SILENT_AFTER_MS);
  expect(lost).toEqual(['ended-test']);
});

it('asked early, considers no instance dead that connects again at its own pace', async () => {
  const link = await faultyLink();
  const [watcher, speaker] = [await connect('watcher'), await connect('tiny', link.through(nats.url))];
  const { instances, lost } = watch(watcher, { silentAfterMs: 60_000, askAfterMs: 300 });
  speaking(speaker);
  await waitFor(() => instances.has('tiny-test'));
  link.refuse();
  await nats.kill();
  await nats.restart();
  await waitFor(() => watcher.connected);
  await sleep(2_000);
  link.accept();
  await waitFor(() => speaker.connected, { timeoutMs: 20_000 });
  await sleep(2 * SILENT_AFTER_MS);
  expect(lost).toEqual([]);
});
