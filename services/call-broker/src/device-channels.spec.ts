import { CLOSE } from '@weir/protocol-topvdn';
import { waitFor } from '@weir/testing';
import { describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import type { Broker } from './testing/broker.js';
import { APP, tokenOf } from './testing/device.js';
import { twoBrokers } from './testing/two-brokers.js';

const pair = twoBrokers(1_000);

const stateAt = async (at: Broker): Promise<number> =>
  (await at.service.channels.presences([pair.cid])).get(pair.cid)?.state ?? 0;
const comesTo = (state: number, at: Broker) =>
  waitFor(async () => (await stateAt(at)) === state, { what: `state ${state}`, timeoutMs: 20_000 });

describe('the device channel', () => {
  it.each([
    ['without a token', ''],
    ['with one that is none', 'hello'],
    ["with one of another app's key", tokenOf(1_234, { key: 'x'.repeat(32) })],
    ['with one that has expired', tokenOf(1_234, { lifeS: -1 })],
    ['of a device that no app has', tokenOf(500_000)],
  ])('refuses a device %s with 401', async (_what, token) => {
    await expect(pair.device(pair.here, { token })).rejects.toThrow('status 401');
  });

  it('refuses other paths with 404', async () => {
    const socket = new WebSocket(
      `${pair.here.url.replace('http', 'ws')}/v2/device/other?client_token=${tokenOf(pair.cid)}`,
    );
    const status = await new Promise((resolve) =>
      socket.on('unexpected-response', (_request, { statusCode }) => resolve(statusCode)).on('error', () => undefined),
    );
    expect(status).toBe(404);
  });

  it('answers requests that came before the device was entered, in their order', async () => {
    const phone = await pair.device();
    phone.ask({ type: 'state', ref: 'first' });
    phone.ask({ type: 'cancel', ref: 'second' });
    await phone.hears(2);
    expect(phone.events.map((event) => 'ref' in event && event.ref)).toEqual(['first', 'second']);
  });

  it('tells what is wrong with a request, answers pings, and closes after too many frames that are none', async () => {
    const phone = await pair.device();
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
    const phone = await pair.device();
    for (let count = 0; count < 2_300; count++) phone.ask({ type: 'ack', id: 'none' });
    expect(await phone.closes()).toBe(CLOSE.flood);
  });
});

describe('a device', () => {
  it('is ready on every instance once it has connected, and offline at once when its socket ends', async () => {
    const phone = await pair.device(pair.here);
    await comesTo(1, pair.there);
    expect(await stateAt(pair.here)).toBe(1);
    expect((await pair.there.service.channels.presences([pair.cid])).get(pair.cid)).toMatchObject({
      address: '127.0.0.1',
    });
    phone.end();
    await comesTo(0, pair.there);
    expect(await stateAt(pair.here)).toBe(0);
  });

  it('that pulls its plug is offline after its time of silence, and not before', async () => {
    await pair.here.stop();
    pair.here = await pair.startOne({ WEIR_CALLS_PING_INTERVAL_MS: '100', WEIR_CALLS_SILENT_AFTER_MS: '600' });
    const phone = await pair.device(pair.here);
    await comesTo(1, pair.there);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(await stateAt(pair.there)).toBe(1);
    phone.socket.pause();
    await comesTo(0, pair.there);
    await pair.here.stop();
  });

  it.each([
    ['the same instance', () => pair.here],
    ['another instance', () => pair.there],
  ])('that logs in again on %s closes its first socket with 4409, and stays ready', async (_where, at) => {
    const first = await pair.device(pair.here);
    await comesTo(1, pair.there);
    const second = await pair.device(at());
    expect(await first.closes()).toBe(CLOSE.replaced);
    expect(await stateAt(pair.here)).toBe(1);
    await waitFor(() => at().service.channels.find(pair.cid) !== undefined);
    second.end();
    await comesTo(0, pair.here);
  });

  it('that logs in many times at once keeps one socket', async () => {
    const all = await Promise.all(
      Array.from({ length: 8 }, (_, index) => pair.device(index % 2 === 0 ? pair.here : pair.there)),
    );
    await waitFor(() => all.filter(({ closeCode }) => closeCode === undefined).length === 1);
    expect([pair.here, pair.there].filter(({ service }) => service.channels.find(pair.cid) !== undefined)).toHaveLength(
      1,
    );
    expect(all.flatMap(({ closeCode }) => closeCode ?? []).every((code) => code === CLOSE.replaced)).toBe(true);
    expect(await stateAt(pair.here)).toBe(1);
  });

  it('has the state that its calls give it, set on whichever instance, until it connects again', async () => {
    await pair.device(pair.here);
    await comesTo(1, pair.there);
    expect(await pair.there.service.channels.setState(pair.cid, 4)).toBe(true);
    expect(await stateAt(pair.here)).toBe(4);
    await comesTo(4, pair.there);
    await pair.device(pair.there);
    await comesTo(1, pair.here);
    expect(await pair.here.service.channels.setState(99_998, 4)).toBe(false);
  });

  it('gets events from every instance, those of one instance in their order', async () => {
    const phone = await pair.device(pair.here);
    await comesTo(1, pair.there);
    const sent = await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        pair.there.service.channels.send(pair.cid, { type: 'closed', call_id: `call${index}` }),
      ),
    );
    expect(sent.every(Boolean)).toBe(true);
    await phone.hears(50);
    expect(phone.events.map((event) => 'call_id' in event && event.call_id)).toEqual(
      Array.from({ length: 50 }, (_, index) => `call${index}`),
    );
    expect(await pair.here.service.channels.send(pair.cid, { type: 'pong' })).toBe(true);
    expect(await pair.here.service.channels.send(99_998, { type: 'pong' })).toBe(false);
  });
});

describe('a device whose token ends', () => {
  it.each([
    ['its app gets a new key', { key: 'n'.repeat(32) }],
    ['its app has the device no longer', { ranges: [{ begin: 1, end: 999, usage: 1 as const }] }],
  ])('because %s is closed with 4401', async (_why, change) => {
    const phone = await pair.device();
    await comesTo(1, pair.there);
    await pair.here.service.apps.change(APP.id, change);
    expect(await phone.closes()).toBe(CLOSE.unauthorized);
    await expect(pair.device()).rejects.toThrow('status 401');
    await pair.here.service.apps.change(APP.id, { key: APP.key, ranges: APP.ranges });
  });
});

describe('devices of an instance', () => {
  it('that was killed are offline on the others', async () => {
    await pair.device(pair.here);
    await comesTo(1, pair.there);
    await pair.here.crash();
    await comesTo(0, pair.there);
  }, 30_000);

  it('that was killed while nobody listened are offline once the next one has started', async () => {
    await pair.device(pair.here);
    await comesTo(1, pair.there);
    await pair.there.stop();
    await pair.here.crash();
    pair.here = await pair.startOne();
    expect(await stateAt(pair.here)).toBe(1);
    await comesTo(0, pair.here);
  }, 40_000);

  it('that stops are told to go, and are offline at once', async () => {
    const phone = await pair.device(pair.here);
    await comesTo(1, pair.there);
    await pair.here.stop();
    expect(await phone.closes()).toBe(CLOSE.shutdown);
    expect(await stateAt(pair.there)).toBe(0);
  });

  it('are known again after Redis has lost everything', async () => {
    const phone = await pair.device(pair.here);
    await comesTo(1, pair.there);
    await pair.there.context.redis.flushall();
    await pair.around.redis.kill();
    await pair.around.redis.restart();
    await comesTo(1, pair.there);
    expect(phone.closeCode).toBeUndefined();
  });
});
