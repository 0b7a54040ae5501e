import { CLOSE } from '@weir/protocol-topvdn';
import { waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { Broker, startSurroundings, type Surroundings } from './testing/broker.js';
import { APP, TestDevice, tokenOf } from './testing/device.js';

let around: Surroundings;
let here: Broker;
let there: Broker;
let devices: TestDevice[];
let nextCid = 1_000;
let cid: number;

const device = async (at = here, options = {}, id = cid): Promise<TestDevice> => {
  const opened = await TestDevice.open(at.url, id, options);
  devices.push(opened);
  return opened;
};
const stateAt = async (at: Broker, id = cid): Promise<number> =>
  (await at.service.channels.presences([id])).get(id)?.state ?? 0;
const comesTo = (state: number, at: Broker) =>
  waitFor(async () => (await stateAt(at)) === state, { what: `state ${state}`, timeoutMs: 20_000 });

beforeAll(async () => {
  around = await startSurroundings();
  [here, there] = await Promise.all([Broker.start(around.env), Broker.start(around.env)]);
  await here.service.apps.create(APP);
}, 60_000);
beforeEach(async () => {
  devices = [];
  nextCid += 1;
  cid = nextCid;
  if (here.isOver) here = await Broker.start(around.env);
  if (there.isOver) there = await Broker.start(around.env);
});
afterEach(() => {
  for (const device of devices) device.end();
});
afterAll(async () => {
  await Promise.all([here.stop(), there.stop()]);
  await around.stop();
});

describe('the device channel', () => {
  it.each([
    ['without a token', ''],
    ['with one that is none', 'hello'],
    ["with one of another app's key", tokenOf(1_234, { key: 'x'.repeat(32) })],
    ['with one that has expired', tokenOf(1_234, { lifeS: -1 })],
    ['of a device that no app has', tokenOf(500_000)],
  ])('refuses a device %s with 401', async (_what, token) => {
    await expect(device(here, { token })).rejects.toThrow('status 401');
  });

  it('refuses other paths with 404', async () => {
    const socket = new WebSocket(`${here.url.replace('http', 'ws')}/v2/device/other?client_token=${tokenOf(cid)}`);
    const status = await new Promise((resolve) =>
      socket.on('unexpected-response', (_request, { statusCode }) => resolve(statusCode)).on('error', () => undefined),
    );
    expect(status).toBe(404);
  });

  it('answers requests that came before the device was entered, in their order', async () => {
    const phone = await device();
    phone.ask({ type: 'state', ref: 'first' });
    phone.ask({ type: 'cancel', ref: 'second' });
    await phone.hears(2);
    expect(phone.events.map((event) => 'ref' in event && event.ref)).toEqual(['first', 'second']);
  });

  it('tells what is wrong with a request, answers pings, and closes after too many frames that are none', async () => {
    const phone = await device();
    phone.ask({ type: 'ping', ref: 'a' });
    phone.socket.send('{"type":"dance","ref":"b"}');
    await phone.hears(2);
    expect(phone.events).toEqual([
      { type: 'pong', ref: 'a' },
      { type: 'error', ref: 'b', code: -2000, message: 'There is no request of the type "dance"' },
    ]);
    for (let count = 0; count < 21; count++) phone.socket.send(count % 2 === 0 ? 'x' : Buffer.from('x'));
    expect(await phone.closes()).toBe(CLOSE.protocolError);
  });

  it('closes for a flood of frames', async () => {
    const phone = await device();
    for (let count = 0; count < 2_300; count++) phone.ask({ type: 'ack', id: 'none' });
    expect(await phone.closes()).toBe(CLOSE.flood);
  });
});

describe('a device', () => {
  it('is ready on every instance once it has connected, and offline at once when its socket ends', async () => {
    const phone = await device(here);
    await comesTo(1, there);
    expect(await stateAt(here)).toBe(1);
    expect((await there.service.channels.presences([cid])).get(cid)).toMatchObject({ address: '127.0.0.1' });
    phone.end();
    await comesTo(0, there);
    expect(await stateAt(here)).toBe(0);
  });

  it('that pulls its plug is offline after its time of silence, and not before', async () => {
    await here.stop();
    here = await Broker.start({
      ...around.env,
      WEIR_CALLS_PING_INTERVAL_MS: '100',
      WEIR_CALLS_SILENT_AFTER_MS: '600',
    });
    const phone = await device(here);
    await comesTo(1, there);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(await stateAt(there)).toBe(1);
    phone.socket.pause();
    await comesTo(0, there);
    await here.stop();
  });

  it.each([
    ['the same instance', () => here],
    ['another instance', () => there],
  ])('that logs in again on %s closes its first socket with 4409, and stays ready', async (_where, at) => {
    const first = await device(here);
    await comesTo(1, there);
    const second = await device(at());
    expect(await first.closes()).toBe(CLOSE.replaced);
    expect(await stateAt(here)).toBe(1);
    await waitFor(() => at().service.channels.find(cid) !== undefined);
    second.end();
    await comesTo(0, here);
  });

  it('that logs in many times at once keeps one socket', async () => {
    const all = await Promise.all(Array.from({ length: 8 }, (_, index) => device(index % 2 === 0 ? here : there)));
    await waitFor(() => all.filter(({ closeCode }) => closeCode === undefined).length === 1);
    expect([here, there].filter(({ service }) => service.channels.find(cid) !== undefined)).toHaveLength(1);
    expect(all.flatMap(({ closeCode }) => closeCode ?? []).every((code) => code === CLOSE.replaced)).toBe(true);
    expect(await stateAt(here)).toBe(1);
  });

  it('has the state that its calls give it, set on whichever instance, until it connects again', async () => {
    await device(here);
    await comesTo(1, there);
    expect(await there.service.channels.setState(cid, 4)).toBe(true);
    expect(await stateAt(here)).toBe(4);
    await comesTo(4, there);
    await device(there);
    await comesTo(1, here);
    expect(await here.service.channels.setState(99_998, 4)).toBe(false);
  });

  it('gets events from every instance, those of one instance in their order', async () => {
    const phone = await device(here);
    await comesTo(1, there);
    const sent = await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        there.service.channels.send(cid, { type: 'closed', call_id: `call${index}` }),
      ),
    );
    expect(sent.every(Boolean)).toBe(true);
    await phone.hears(50);
    expect(phone.events.map((event) => 'call_id' in event && event.call_id)).toEqual(
      Array.from({ length: 50 }, (_, index) => `call${index}`),
    );
    expect(await here.service.channels.send(cid, { type: 'pong' })).toBe(true);
    expect(await here.service.channels.send(99_998, { type: 'pong' })).toBe(false);
  });
});

describe('a device whose token ends', () => {
  it.each([
    ['its app gets a new key', { key: 'n'.repeat(32) }],
    ['its app has the device no longer', { ranges: [{ begin: 1, end: 999, usage: 1 as const }] }],
  ])('because %s is closed with 4401', async (_why, change) => {
    const phone = await device();
    await comesTo(1, there);
    await here.service.apps.change(APP.id, change);
    expect(await phone.closes()).toBe(CLOSE.unauthorized);
    await expect(device()).rejects.toThrow('status 401');
    await here.service.apps.change(APP.id, { key: APP.key, ranges: APP.ranges });
  });
});

describe('devices of an instance', () => {
  it('that was killed are offline on the others', async () => {
    await device(here);
    await comesTo(1, there);
    await here.crash();
    await comesTo(0, there);
  }, 30_000);

  it('that was killed while nobody listened are offline once the next one has started', async () => {
    await device(here);
    await comesTo(1, there);
    await there.stop();
    await here.crash();
    here = await Broker.start(around.env);
    expect(await stateAt(here)).toBe(1);
    await comesTo(0, here);
  }, 40_000);

  it('that stops are told to go, and are offline at once', async () => {
    const phone = await device(here);
    await comesTo(1, there);
    await here.stop();
    expect(await phone.closes()).toBe(CLOSE.shutdown);
    expect(await stateAt(there)).toBe(0);
  });

  it('are known again after Redis has lost everything', async () => {
    const phone = await device(here);
    await comesTo(1, there);
    await there.context.redis.flushall();
    await around.redis.kill();
    await around.redis.restart();
    await comesTo(1, there);
    expect(phone.closeCode).toBeUndefined();
  });
});
