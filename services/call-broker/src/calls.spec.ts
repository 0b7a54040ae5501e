import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { Bus } from '@weir/bus';
import {
  EndReason,
  ErrorCode,
  HlsAddresses,
  StreamRecordingOwner,
  StreamRecordings,
  WeirError,
  type SignHlsAddressesRequest,
  type StartStreamRecordingRequest,
} from '@weir/contracts';
import { DEVICE_STATE, ERROR_CODE, type DeviceEvent, type TypedEvent } from '@weir/protocol-topvdn';
import { connectRedis } from '@weir/platform';
import { waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { AppStore } from './app-store.js';
import { CALL_LEASE_TTL_MS } from './call-leases.js';
import { CallStore } from './call-store.js';
import { Broker, KEYS, startSurroundings, type Surroundings } from './testing/broker.js';
import { CallMedia } from './testing/call-media.js';
import { APP, TestDevice, tokenOf } from './testing/device.js';

let around: Surroundings;
let here: Broker;
let there: Broker;
let media: CallMedia;
let devices: TestDevice[];
let nextCid = 2_000;

const start = (): Promise<Broker> =>
  Broker.start({ ...around.env, WEIR_TURN_URLS: 'turn:turn.example:3478', WEIR_TURN_SECRET: 'north' });

const device = async (at = here, cid = (nextCid += 1)): Promise<TestDevice> => {
  const opened = await TestDevice.open(at.url, cid);
  devices.push(opened);
  await waitFor(async () => (await at.service.channels.presences([cid])).has(cid));
  return opened;
};

const urlOf = (cid: number, token = tokenOf(cid)): string => `topvdn://127.0.0.1:80?protocolType=1&token=${token}`;

type Typed<Type extends TypedEvent['type']> = Extract<TypedEvent, { type: Type }>;

const said = <Type extends TypedEvent['type']>(to: TestDevice, type: Type): Typed<Type>[] =>
  to.events.filter((event): event is Typed<Type> => 'type' in event && event.type === type);

/** Each message of the platform about calls, as `<name> <JSON>`. */
const told = (to: TestDevice): string[] =>
  to.events.flatMap((event: DeviceEvent) => ('Name' in event ? [`${event.Name} ${event.Message}`] : []));

const hears = (to: TestDevice, type: TypedEvent['type'], count = 1): Promise<unknown> =>
  waitFor(() => said(to, type).length >= count, { what: `${type} for ${to.cid}`, timeoutMs: 20_000 });

const closed = (to: TestDevice, cause: string): Promise<unknown> =>
  waitFor(() => told(to).some((text) => text.startsWith('ConnectionClosed') && text.includes(`"${cause}"`)), {
    what: `the end "${cause}" for ${to.cid}`,
    timeoutMs: 20_000,
  });

const open = (who: TestDevice, whom: TestDevice): void =>
  who.ask({ type: 'open', ref: 'o', url: urlOf(whom.cid), sdp: `offer of ${who.cid}` });

async function talking(a: TestDevice, b: TestDevice): Promise<string> {
  open(b, a);
  await hears(b, 'opened');
  const { call_id: callId } = said(b, 'opened')[0] ?? { call_id: '' };
  await waitFor(() => told(a).some((text) => text.startsWith('ConnectionAcceptted')));
  a.ask({ type: 'join', ref: 'j', call_id: callId, sdp: `offer of ${a.cid}` });
  await hears(a, 'joined');
  media.connect();
  await waitFor(() => [a, b].every((each) => told(each).some((text) => text.startsWith('StartPopData'))));
  return callId;
}

const ofCalls = async (): Promise<string[]> =>
  (await here.context.redis.keys('call-broker:*')).filter((key) =>
    /^call-broker:(?:call|place|ring)(?:-group)?:/.test(key),
  );

const nothingIsLeft = (): Promise<unknown> =>
  waitFor(async () => (await ofCalls()).length === 0 && media.sessions.size === 0, {
    what: 'nothing of a call',
    timeoutMs: 20_000,
  });

beforeAll(async () => {
  around = await startSurroundings();
  media = await CallMedia.start(around.nats.url);
  [here, there] = await Promise.all([start(), start()]);
  await here.service.apps.create(APP);
}, 60_000);
beforeEach(async () => {
  devices = [];
  media.refusal = undefined;
  if (here.isOver) here = await start();
  if (there.isOver) there = await start();
});
afterEach(async () => {
  for (const device of devices) device.end();
  await nothingIsLeft();
});
afterAll(async () => {
  await Promise.all([here.stop(), there.stop()]);
  await media.stop();
  await around.stop();
});

describe('a device', () => {
  it('is told the TURN servers when it asks for its state, and when its URL is opened', async () => {
    const [a, b] = [await device(), await device(there)];
    a.ask({ type: 'state' });
    await hears(a, 'state');
    const servers = [
      {
        urls: ['turn:turn.example:3478'],
        username: expect.stringMatching(`^\\d+:${a.cid}$`) as string,
        credential: expect.any(String) as string,
      },
    ];
    expect(said(a, 'state')[0]?.ice_servers).toEqual(servers);
    await talking(a, b);
    const accepted = told(a).find((text) => text.startsWith('ConnectionAcceptted')) ?? '';
    expect(JSON.parse(accepted.slice('ConnectionAcceptted '.length))).toMatchObject({ ice_servers: servers });
  });
});

describe.each([
  ['one instance', () => [here, here] as const],
  ['two instances', () => [here, there] as const],
])('devices on %s', (_where, instances) => {
  it('open, join and close a call, of which a record stays', async () => {
    const [atA, atB] = instances();
    const [a, b] = [await device(atA), await device(atB)];
    const callId = await talking(a, b);
    expect(said(b, 'opened')).toEqual([
      { type: 'opened', ref: 'o', call_id: callId, sdp: `answer to offer of ${b.cid}` },
    ]);
    expect(said(a, 'joined')).toEqual([
      { type: 'joined', ref: 'j', call_id: callId, sdp: `answer to offer of ${a.cid}` },
    ]);
    expect(
      [...media.sessions.values()].map(({ streamName, heardStreamName }) => [streamName, heardStreamName]),
    ).toEqual([
      [`calls/${callId}/callee`, `calls/${callId}/caller`],
      [`calls/${callId}/caller`, `calls/${callId}/callee`],
    ]);
    a.ask({ type: 'close', ref: 'c', call_id: callId });
    a.ask({ type: 'close', ref: 'd', call_id: callId });
    await closed(b, 'closed');
    await hears(a, 'closed', 2);
    expect(told(a).some((text) => text.startsWith('ConnectionClosed'))).toBe(false);
    await waitFor(
      async () => (await here.service.calls.records('house', { page: 1, size: 10, cid: a.cid })).total === 1,
    );
    const { calls } = await here.service.calls.records('house', { page: 1, size: 10, cid: a.cid });
    expect(calls).toMatchObject([{ id: callId, caller: BigInt(a.cid), callee: BigInt(b.cid), cause: 'closed' }]);
  });

  it('get one call when each opens the other one’s URL', async () => {
    const [atA, atB] = instances();
    const [a, b] = [await device(atA), await device(atB)];
    open(a, b);
    open(b, a);
    await Promise.all([hears(a, 'opened'), hears(b, 'opened')]);
    expect(said(a, 'opened')[0]?.call_id).toBe(said(b, 'opened')[0]?.call_id);
    expect(media.sessions.size).toBe(2);
    a.ask({ type: 'close', call_id: said(a, 'opened')[0]?.call_id ?? '' });
    await closed(b, 'closed');
  });

  it('pass on what is switched off and how good the media are', async () => {
    const [atA, atB] = instances();
    const [a, b] = [await device(atA), await device(atB)];
    const callId = await talking(a, b);
    b.ask({ type: 'mute', call_id: callId, audio: false, video: true });
    const quality = { loss: 0.1, rtt_ms: 40, bitrate_bps: 500_000 };
    b.ask({ type: 'quality', call_id: callId, received: quality });
    await Promise.all([hears(a, 'muted'), hears(a, 'quality')]);
    expect(said(a, 'muted')).toEqual([{ type: 'muted', call_id: callId, audio: false, video: true }]);
    expect(said(a, 'quality')).toEqual([{ type: 'quality', call_id: callId, sent: quality }]);
    b.ask({ type: 'close', call_id: callId });
    await closed(a, 'closed');
  });
});

describe('a call', () => {
  it('is refused when a device is busy, gone, itself or not permitted', async () => {
    const [a, b, c] = [await device(), await device(), await device()];
    const callId = await talking(a, b);
    open(a, c);
    open(c, a);
    open(c, c);
    c.ask({ type: 'open', ref: 'o', url: urlOf(65_000), sdp: 'x' });
    c.ask({ type: 'open', ref: 'o', url: urlOf(a.cid, tokenOf(a.cid, { lifeS: -1 })), sdp: 'x' });
    c.ask({ type: 'open', ref: 'o', url: urlOf(a.cid, tokenOf(a.cid, { key: 'z'.repeat(32) })), sdp: 'x' });
    c.ask({ type: 'open', ref: 'o', url: 'topvdn://127.0.0.1:80', sdp: 'x' });
    await Promise.all([hears(c, 'error', 6), hears(a, 'error')]);
    expect(said(a, 'error').map(({ code }) => code)).toEqual([ERROR_CODE.busy]);
    expect(said(c, 'error').map(({ code }) => code)).toEqual([
      ERROR_CODE.answeredElsewhere,
      ...[ERROR_CODE.self, ERROR_CODE.offline, ERROR_CODE.tokenExpired, ERROR_CODE.tokenRefused, ERROR_CODE.parameter],
    ]);
    a.ask({ type: 'close', call_id: callId });
    await closed(b, 'closed');
  });

  it('is told to both when its media die', async () => {
    const [a, b] = [await device(), await device(there)];
    const callId = await talking(a, b);
    media.end(`calls/${callId}/caller`, EndReason.NODE_LOST);
    await Promise.all([closed(a, 'media-lost'), closed(b, 'media-lost')]);
  });

  it('tells both sides what of its media does not reach the other one, as soon as it is established', async () => {
    const [a, b] = [await device(), await device(there)];
    open(b, a);
    await hears(b, 'opened');
    const { call_id: callId } = said(b, 'opened')[0] ?? { call_id: '' };
    await waitFor(() => told(a).some((text) => text.startsWith('ConnectionAcceptted')));
    a.ask({ type: 'join', ref: 'j', call_id: callId, sdp: 'offer' });
    await hears(a, 'joined');
    media.notCarried(`calls/${callId}/caller`, 'video H264: the client takes VP8');
    media.connect();
    await Promise.all([hears(a, 'not-carried'), hears(b, 'not-carried')]);
    media.notCarried(`calls/${callId}/callee`, 'video VP8: the client takes H264');
    await Promise.all([hears(a, 'not-carried', 2), hears(b, 'not-carried', 2)]);
    const event = { type: 'not-carried', call_id: callId };
    const [h264, vp8] = ['video H264: the client takes VP8', 'video VP8: the client takes H264'];
    expect(said(a, 'not-carried')).toEqual([
      { ...event, way: 'received', message: h264 },
      { ...event, way: 'sent', message: vp8 },
    ]);
    expect(said(b, 'not-carried')).toEqual([
      { ...event, way: 'sent', message: h264 },
      { ...event, way: 'received', message: vp8 },
    ]);
    a.ask({ type: 'close', call_id: callId });
    await closed(b, 'closed');
  });

  it('whose offer the media core refuses ends, and tells why', async () => {
    const [a, b] = [await device(), await device()];
    media.refusal = new WeirError(ErrorCode.NO_COMMON_CODECS, 'no common codec');
    open(b, a);
    await hears(b, 'error');
    expect(said(b, 'error')).toMatchObject([{ code: ERROR_CODE.media, message: 'no common codec', ref: 'o' }]);
  });

  it('restarts ICE for a device whose network has changed', async () => {
    const [a, b] = [await device(), await device()];
    const callId = await talking(a, b);
    a.ask({ type: 'restart', ref: 'r', call_id: callId, sdp: 'another offer' });
    await hears(a, 'restarted');
    expect(said(a, 'restarted')).toEqual([
      { type: 'restarted', ref: 'r', call_id: callId, sdp: 'answer to another offer' },
    ]);
    a.ask({ type: 'close', call_id: callId });
    await closed(b, 'closed');
  });

  it('is known to a device that comes back in time, and ends when it does not', async () => {
    const [a, b] = [await device(), await device()];
    const callId = await talking(a, b);
    a.end();
    const again = await device(there, a.cid);
    again.ask({ type: 'state', ref: 's' });
    await hears(again, 'state');
    expect(said(again, 'state')).toMatchObject([
      { calls: [{ call_id: callId, cid: b.cid, role: 'opened', phase: 'established' }] },
    ]);
    again.end();
    await closed(b, 'channel-lost');
  });
});

describe('ringing', () => {
  /** The application's server pushes the caller's URL. */
  const ring = async (caller: TestDevice, rung: readonly TestDevice[]) => {
    const msg = Buffer.from(`{"call":"${urlOf(caller.cid)}"}`).toString('base64');
    const clients = rung.map(({ cid }) => cid);
    const pushed = await here.request('POST', '/v2/message/server/push', {
      headers: { 'x-app-id': APP.id, 'x-app-key': APP.key },
      body: { proxy: 0, payload: { msg, flag: 3, clients } },
    });
    expect(pushed.status).toBe(200);
  };

  it('goes to several devices, of which the first one to answer gets the call', async () => {
    const [a, b, c] = [await device(), await device(), await device(there)];
    await ring(a, [b, c]);
    c.ask({ type: 'ringing', ref: 'r', url: urlOf(a.cid) });
    await Promise.all([hears(c, 'done'), hears(a, 'ringing')]);
    open(b, a);
    await Promise.all([hears(b, 'opened'), hears(c, 'stopped-ringing')]);
    expect(said(c, 'stopped-ringing')).toEqual([{ type: 'stopped-ringing', cid: a.cid, cause: 'answered-elsewhere' }]);
    open(c, a);
    await hears(c, 'error');
    expect(said(c, 'error')[0]?.code).toBe(ERROR_CODE.answeredElsewhere);
    b.ask({ type: 'close', call_id: said(b, 'opened')[0]?.call_id ?? '' });
    await closed(a, 'closed');
  });

  it('is declined by the callee, or cancelled by the caller', async () => {
    const [a, b] = [await device(), await device()];
    await ring(a, [b]);
    b.ask({ type: 'decline', url: urlOf(a.cid) });
    await hears(a, 'stopped-ringing');
    expect(said(a, 'stopped-ringing')).toEqual([{ type: 'stopped-ringing', cid: b.cid, cause: 'declined' }]);
    await nothingIsLeft();
    await ring(a, [b]);
    a.ask({ type: 'cancel' });
    await hears(b, 'stopped-ringing');
    expect(said(b, 'stopped-ringing')).toEqual([{ type: 'stopped-ringing', cid: a.cid, cause: 'cancelled' }]);
  });
});

describe('the REST of calls', () => {
  it('lists the calls that have ended, page by page, to those who administer the apps', async () => {
    const [a, b] = [await device(), await device()];
    for (let count = 0; count < 3; count++) {
      a.events.length = b.events.length = 0;
      const callId = await talking(a, b);
      b.ask({ type: 'close', call_id: callId });
      await closed(a, 'closed');
      await nothingIsLeft();
    }
    const page = (query: string, as: string = KEYS.operator) =>
      here.request('GET', `/calls/records?cid=${a.cid}&${query}`, { as });
    await waitFor(async () => (await page('')).body.total === 3);
    const first = await page('size=2');
    expect(first.body).toMatchObject({ total: 3, page: 1, size: 2 });
    expect(first.body.calls).toHaveLength(2);
    expect(first.body.calls[0]).toMatchObject({ caller: a.cid, callee: b.cid, cause: 'closed', isRecorded: false });
    expect(first.body.calls[0].setUpMs).toBeGreaterThanOrEqual(0);
    expect((await page('size=2&page=2')).body.calls).toHaveLength(1);
    // As another version of the service might write it:
    const { id } = first.body.calls[0];
    await here.service.apps.database.callRecord.update({ where: { id }, data: { quality: { caller: 'good' } } });
    expect((await page('size=2')).body.calls[0]).toMatchObject({ id, quality: {} });
    expect((await page('', KEYS.neighbour)).body.total).toBe(0);
    expect((await page('', KEYS.member)).status).toBe(403);
  });

  it('knows no call to record that has ended, or that belongs to another tenant', async () => {
    const [a, b] = [await device(), await device()];
    const callId = await talking(a, b);
    const record = (as: string) => there.request('POST', `/calls/${callId}/recording`, { as });
    expect((await record(KEYS.neighbour)).status).toBe(403);
    a.ask({ type: 'close', call_id: callId });
    await closed(b, 'closed');
    await nothingIsLeft();
    expect((await record(KEYS.member)).status).toBe(404);
  });
});

describe('the record of a call', () => {
  const row = (id: string) => here.service.apps.database.callRecord.findUniqueOrThrow({ where: { id } });
  const age = (id: string) =>
    here.service.apps.database.callRecord.update({ where: { id }, data: { seenAt: new Date(Date.now() - 120_000) } });
  const listed = async ({ cid }: Pick<TestDevice, 'cid'>) =>
    (await here.service.calls.records('house', { page: 1, size: 10, cid })).calls;

  it('is written when the call begins, completed when it is established, and listed when it has ended', async () => {
    const [a, b] = [await device(), await device()];
    open(b, a);
    await hears(b, 'opened');
    const callId = said(b, 'opened')[0]?.call_id ?? '';
    await waitFor(() => row(callId));
    expect(await row(callId)).toMatchObject({ caller: BigInt(a.cid), establishedAt: null, endedAt: null, cause: null });
    a.ask({ type: 'join', call_id: callId, sdp: 'an offer' });
    await hears(a, 'joined');
    media.connect();
    await waitFor(async () => (await row(callId)).establishedAt !== null);
    expect(await row(callId)).toMatchObject({ callee: BigInt(b.cid), endedAt: null });
    expect(await listed(a)).toEqual([]);
    b.ask({ type: 'close', call_id: callId });
    await waitFor(async () => (await listed(a)).length === 1);
    expect(await listed(a)).toMatchObject([{ id: callId, callee: BigInt(b.cid), cause: 'closed' }]);
  });

  it('is ended by any instance if nobody confirms it and no instance has a lease of the call', async () => {
    const id = randomUUID();
    const [caller, callee] = [1_900, 1_901];
    await new CallStore(here.service.apps.database).write({
      ...{ id, tenant: 'house', appId: APP.id, caller, callee, startedMs: Date.now(), quality: {}, isRecorded: false },
      ...{ answeredMs: undefined, establishedMs: undefined },
    });
    await here.service.openRecords.tend();
    expect(await row(id)).toMatchObject({ endedAt: null });
    const { seenAt } = await age(id);
    await here.service.openRecords.tend();
    expect(await listed({ cid: caller })).toMatchObject([{ id, cause: 'shutdown', endedAt: seenAt }]);
  });

  it('stays open as long as an instance runs the call, although nobody confirmed it for some time', async () => {
    const [a, b] = [await device(there), await device(there)];
    const callId = await talking(a, b);
    await waitFor(async () => (await row(callId)).establishedAt !== null);
    const { seenAt } = await age(callId);
    await here.service.openRecords.tend();
    expect(await row(callId)).toMatchObject({ endedAt: null, seenAt });
    await there.service.openRecords.tend();
    expect((await row(callId)).seenAt.getTime()).toBeGreaterThan(seenAt.getTime());
    a.ask({ type: 'close', call_id: callId });
    await closed(b, 'closed');
  });
});

describe('a call while Redis loses everything', () => {
  it('goes on, and a device on another instance can still end it', async () => {
    const [a, b] = [await device(here), await device(there)];
    const callId = await talking(a, b);
    await here.context.redis.flushall();
    await around.redis.kill();
    await around.redis.restart();
    await waitFor(async () => (await here.context.redis.exists(`call-broker:call:${callId}`)) === 1, {
      timeoutMs: 5_000,
      what: 'the call in Redis',
    });
    const cids = [a.cid, b.cid];
    await waitFor(
      async () => (await here.context.redis.exists(...cids.map((cid) => `call-broker:device:${cid}`))) === 2,
    );
    a.ask({ type: 'close', call_id: callId });
    await closed(b, 'closed');
  });
});

describe('the stream of a device', () => {
  it('has an address for its app while the device sends in a call', async () => {
    const packager = await Bus.connect({ url: around.nats.url, service: 'hls-packager', instanceId: 'hls-1' });
    const asked: SignHlsAddressesRequest[] = [];
    const serving = packager.serve(HlsAddresses.method.sign, (request) => {
      asked.push(request);
      return { addresses: request.streamNames.map((name) => `/videos/${name}?signed`) };
    });
    try {
      const [a, b] = [await device(), await device(there)];
      const hlsOf = async () => {
        const { body } = await here.request('POST', '/v2/devices/state', {
          headers: { 'x-app-id': APP.id, 'x-app-key': APP.key, host: 'weir.example' },
          body: { cids: [a.cid, b.cid] },
        });
        return body.devices.map(({ hls, rtmp_url }: { hls: string; rtmp_url: string }) => [hls, rtmp_url]);
      };
      const none = [
        ['', ''],
        ['', ''],
      ];
      expect(await hlsOf()).toEqual(none);
      const callId = await talking(a, b);
      await waitFor(async () => (await hlsOf()).every(([hls]: [string]) => hls !== ''), { what: 'the addresses' });
      const address = (side: string) => [`http://weir.example/videos/calls/${callId}/${side}?signed`, ''];
      expect(await hlsOf()).toEqual([address('caller'), address('callee')]);
      expect(asked.at(-1)).toMatchObject({ tenant: 'house' });
      const lifeMs = Number(asked.at(-1)?.expiresAtMs) - Date.now();
      expect([lifeMs > 500_000, lifeMs <= 600_000]).toEqual([true, true]);
      await serving.close();
      expect(await hlsOf()).toEqual(none);
      a.ask({ type: 'close', call_id: callId });
      await closed(b, 'closed');
    } finally {
      await packager.drain({ graceMs: 0 });
    }
  });
});

describe('a recording of a call', () => {
  it('whose file is complete is told to the device’s app once, and is among the call’s records', async () => {
    const told: string[] = [];
    const receiver = createServer((request, response) => {
      void text(request).then((body) => {
        told.push(`${request.headers['x-topvdn-event']} ${body}`);
        response.end();
      });
    });
    await once(receiver.listen(0, '127.0.0.1'), 'listening');
    const recorder = await Bus.connect({ url: around.nats.url, service: 'recording', instanceId: 'recording-1' });
    const asked: StartStreamRecordingRequest[] = [];
    recorder.serve(StreamRecordings.method.start, (request) => {
      asked.push(request);
      return { recording: { recordingId: `of ${request.key}` } };
    });
    try {
      await here.service.apps.change(APP.id, {
        webhook: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}`,
      });
      const [a, b] = [await device(), await device(there)];
      const callId = await talking(a, b);
      expect((await there.request('POST', `/calls/${callId}/recording`, { as: KEYS.member })).status).toBe(204);
      expect(asked).toMatchObject([
        { tenant: 'house', streamName: `calls/${callId}/caller`, tellOwner: true, labels: { cid: String(a.cid) } },
        { tenant: 'house', streamName: `calls/${callId}/callee`, tellOwner: true, labels: { cid: String(b.cid) } },
      ]);
      a.ask({ type: 'close', call_id: callId });
      await closed(b, 'closed');
      for (const { tenant, key, labels } of [...asked, ...asked])
        await recorder.call(StreamRecordingOwner.method.fileReady, { tenant, recordingId: `of ${key}`, labels });
      await waitFor(() => told.length >= 2, { what: 'the webhooks', timeoutMs: 15_000 });
      await nothingIsLeft();
      const records = await waitFor(async () => {
        const { body } = await here.request('GET', `/calls/records?cid=${a.cid}`, { as: KEYS.operator });
        return body.total === 1 ? body : undefined;
      });
      const [call] = records.calls;
      expect(call).toMatchObject({
        isRecorded: true,
        clips: [
          { clipId: expect.any(Number) as number, cid: a.cid, recordingId: `of calls/${callId}/caller` },
          { clipId: expect.any(Number) as number, cid: b.cid, recordingId: `of calls/${callId}/callee` },
        ],
      });
      const clip = (of: { cid: number; clipId: number }) =>
        `device-record-clip {"event":"device-record-clip","data":{"device":${of.cid},"clip_id":${of.clipId}}}`;
      expect(told.sort()).toEqual(call.clips.map(clip).sort());
    } finally {
      await here.service.apps.change(APP.id, { webhook: '' });
      await recorder.drain({ graceMs: 0 });
      receiver.closeAllConnections();
      receiver.close();
    }
  });
});

describe('a call whose instance is killed', () => {
  it('goes on at another one, and can still be ended', async () => {
    const [a, b] = [await device(there), await device(there)];
    await there.service.calls.ring({ cid: a.cid, tenant: 'house', appId: APP.id }, [b.cid]);
    const callId = await talking(a, b);
    await there.crash();
    const [a2, b2] = [await device(here, a.cid), await device(here, b.cid)];
    await waitFor(() => here.service.calls.count === 1, { what: 'the take-over', timeoutMs: 20_000 });
    expect(media.sessions.size).toBe(2);
    await waitFor(
      async () => {
        const presences = await here.service.channels.presences([a.cid, b.cid]);
        return [a, b].every(({ cid }) => presences.get(cid)?.state === DEVICE_STATE.pushing);
      },
      { what: 'the state of devices that send' },
    );
    a2.ask({ type: 'close', ref: 'c', call_id: callId });
    await Promise.all([closed(b2, 'closed'), hears(a2, 'closed')]);
  });

  it('is closed in its record by the next instance that starts, if all of them were gone for longer than its lease', async () => {
    const [a, b] = [await device(there), await device(there)];
    const callId = await talking(a, b);
    const records = () => here.service.apps.database.callRecord;
    await waitFor(async () => (await records().findUnique({ where: { id: callId } }))?.establishedAt != null);
    for (const side of [a, b]) side.end();
    await Promise.all([here.crash(), there.crash()]);
    // What a minute without any instance leaves:
    media.sessions.clear(); // the media core has ended the sessions of an owner that is silent
    const redis = connectRedis(around.redis.url, here.context.log);
    const store = await AppStore.open(around.postgres.url, here.context.log);
    try {
      for (const key of await redis.keys('call-broker:*')) await redis.pexpire(key, 1);
      const seenAt = new Date(Date.now() - CALL_LEASE_TTL_MS);
      await store.database.callRecord.update({ where: { id: callId, endedAt: null }, data: { seenAt } });
    } finally {
      redis.disconnect();
      await store.close();
    }
    here = await start();
    await waitFor(async () => (await records().findUniqueOrThrow({ where: { id: callId } })).endedAt !== null);
    expect(await here.service.calls.records('house', { page: 1, size: 10, cid: a.cid })).toMatchObject({
      calls: [{ id: callId, cause: 'shutdown' }],
    });
  });
});
