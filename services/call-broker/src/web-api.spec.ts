import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { controlWord, DEVICE_CONTROL, makeToken, parseToken, trackersOf, verifyToken } from '@weir/protocol-topvdn';
import { waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Broker, startSurroundings, type Asking, type Surroundings } from './testing/broker.js';
import { TestDevice } from './testing/device.js';

/** As the samples of the documents name them. */
const KEY = 'mock-app-key-use-your-own-pls';
const MOCK = {
  id: 'mock',
  key: KEY,
  tenant: 'house',
  ranges: [{ begin: 1_003_500, end: 1_003_599, usage: 1 as const }],
};
const TEST = {
  ...{ id: 'Test', key: KEY, tenant: 'house' },
  ranges: [
    { begin: 1_003_000, end: 1_003_499, usage: 1 as const },
    { begin: 5_003_000, end: 5_003_099, usage: 2 as const },
  ],
};
const FOREIGN = {
  id: 'far1',
  key: 'f'.repeat(32),
  tenant: 'neighbours',
  ranges: [{ begin: 7, end: 9, usage: 1 as const }],
};

interface Told {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

let around: Surroundings;
let broker: Broker;
let server: Server;
let told: Told[];
let hook: string;
const devices: TestDevice[] = [];

beforeAll(async () => {
  around = await startSurroundings();
  broker = await Broker.start(around.env);
  for (const app of [MOCK, TEST, FOREIGN]) await broker.service.apps.create(app);
  server = createServer((request, response) => {
    void text(request).then((body) => {
      if (request.method === 'POST') told.push({ headers: request.headers, body });
      response.end();
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  hook = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`;
}, 60_000);

beforeEach(() => {
  told = [];
});
afterEach(async () => {
  for (const device of devices.splice(0)) device.end();
  for (const { id } of [MOCK, TEST]) await broker.service.apps.change(id, { webhook: '', stateWebhook: '' });
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await broker.stop();
  await around.stop();
});

const inS = (seconds: number) => Math.floor(Date.now() / 1_000) + seconds;
const token = (cid: number, { control = DEVICE_CONTROL, key = KEY, lifeS = 3_600 } = {}) =>
  makeToken({ cid, control, expireS: inS(lifeS) }, key);
const device = async (cid: number): Promise<TestDevice> => {
  const opened = await TestDevice.open(broker.url, cid, { token: token(cid) });
  devices.push(opened);
  await waitFor(async () => (await broker.service.channels.presences([cid])).has(cid), { what: 'the device' });
  return opened;
};
const by = ({ id, key }: { id: string; key: string }) => ({ 'x-app-id': id, 'x-app-key': key });
const ask = (path: string, body?: unknown, headers: Asking['headers'] = by(TEST)) =>
  broker.request(body === undefined ? 'GET' : 'POST', `/v2/${path}`, { body, headers });
const base64 = (words: string | Buffer) => Buffer.from(words).toString('base64');

describe('the samples of the documents', () => {
  /** Word for word but for the host. */
  const curl = async (command: string) => {
    const here = command.replaceAll('http://api.topvdn.com', broker.url);
    const { stdout } = await promisify(execFile)('bash', ['-c', `${here.trim()} -sS -w '\\n%{http_code}'`]);
    const [body = '', status] = stdout.split(/\n(?=\d+$)/);
    return { status, body: JSON.parse(body) as Record<string, unknown> };
  };

  it('ask for the state of a device', async () => {
    const { status, body } = await curl(`
curl -X POST -H "X-APP-ID: mock" -H "X-APP-Key: mock-app-key-use-your-own-pls" -H "Content-Type: application/json" -d '{
    "cids": [1003538]
}' "http://api.topvdn.com/v2/devices/state?page=1&size=20"
`);
    expect(status).toBe('200');
    expect(body).toMatchObject({ devices: [{ cid: 1_003_538, state: 0 }], total: 1, size: 20, page: 1 });
  });

  it('push a message to a device', async () => {
    const phone = await device(1_003_181);
    const { status, body } = await curl(`
curl -X POST -H "Content-Type: application/json" -H "X-APP-ID: Test" -H "X-APP-Key: mock-app-key-use-your-own-pls" -H "Cache-Control: no-cache" -d '{
    "proxy": 0,
    "payload": {
        "msg": "aGVsbG8=",
        "flag": 3,
        "clients": [1003181]
    }
}' "http://api.topvdn.com/v2/message/server/push"
`);
    expect([status, body]).toEqual(['200', { request_id: expect.stringMatching(/^[0-9a-f]{32}$/) as string }]);
    await phone.hears(1);
    expect(phone.events.at(-1)).toMatchObject({ Name: 'PopMessage', Message: 'aGVsbG8=' });
  });
});

describe('every answer', () => {
  it('has its request’s id in the body and in a header, errors too', async () => {
    for (const [answer, status] of [
      [await ask('devices/ids'), 200],
      [await ask('devices/ids', undefined, {}), 401],
      [await ask('devices/nothing'), 404],
      [await ask('devices/state', 'no object'), 400],
      [await broker.request('PUT', '/v2/devices/state', { headers: by(TEST) }), 405],
    ] as const) {
      expect(answer.status).toBe(status);
      expect(answer.body.request_id).toMatch(/^[0-9a-f]{32}$/);
      expect(answer.headers['x-request-id']).toBe(answer.body.request_id);
      if (status !== 200) expect(Object.keys(answer.body).sort()).toEqual(['message', 'request_id']);
    }
  });
});

describe('the state of devices', () => {
  const EMPTY = { public_ip: '0.0.0.0', public_port: 0, local_ip: '0.0.0.0', local_port: 0 };

  it('has every field, and leads to where devices open their channel', async () => {
    await device(1_003_101);
    const headers = { ...by(TEST), 'x-forwarded-proto': 'https', 'x-forwarded-host': 'video.example:8443' };
    const { status, body } = await ask('devices/state', { cids: [1_003_101, 1_003_102] }, headers);
    expect(status).toBe(200);
    const same = {
      ...{ tracker_ip: 'video.example', tracker_port: 8_443, config_type: 0, relay_ip: '0.0.0.0', relay_port: 0 },
      ...{ cover_url: expect.any(String) as string, rtmp_url: '', hls: '' },
    };
    expect(body.devices).toEqual([
      {
        ...{ ...EMPTY, ...same, cid: 1_003_101, state: 1, public_ip: '127.0.0.1' },
        public_port: expect.any(Number) as number,
        conn_key: expect.any(Number) as number,
      },
      { ...EMPTY, ...same, cid: 1_003_102, state: 0, conn_key: 0 },
    ]);
    expect(body.devices[0].conn_key).toBeGreaterThan(0);
    expect(trackersOf(body.init_string)).toEqual([{ host: 'video.example', port: 8_443 }]);
    expect(body.init_string).toContain('[Config]\r\n');
    const cover = new URL(body.devices[1].cover_url);
    expect(`${cover.origin}${cover.pathname}`).toBe('https://video.example:8443/v2/snapshots/1003102/cover');
    const reading = parseToken(cover.searchParams.get('client_token') ?? '');
    if (reading.tag === 'refused') throw new Error(reading.reason);
    const after = (hours: number) => verifyToken(reading.token, KEY, Date.now() + hours * 3_600_000).tag;
    expect([after(23), after(24.1)]).toEqual(['valid', 'refused']);
  });

  it('is told of all devices that were seen, page by page, if none is named', async () => {
    const made = await ask('devices/tokens', { cids: [5_003_001, 5_003_002, 5_003_003] });
    expect(made.status).toBe(200);
    const page = async (query: string, body: unknown) => {
      const answer = await ask(`devices/state?${query}`, body);
      return [answer.body.devices.map(({ cid }: { cid: number }) => cid), answer.body.total];
    };
    const { body } = await ask('devices/state', {});
    const all = body.devices.map(({ cid }: { cid: number }) => cid);
    expect([body.total, body.size, body.page]).toEqual([all.length, 20, 1]);
    expect(all.slice(-3)).toEqual([5_003_001, 5_003_002, 5_003_003]);
    const lastPage = Math.ceil(all.length / 2);
    expect(await page(`size=2&page=${lastPage}`, { cids: [] })).toEqual([all.slice((lastPage - 1) * 2), all.length]);
    expect(await page('size=2&page=2', { cids: all })).toEqual([all.slice(2, 4), all.length]);
    expect(await page('size=100&page=1000000', {})).toEqual([[], all.length]);
  });

  it('is told of the app’s own devices alone', async () => {
    const { body } = await ask('devices/state', { cids: [1_003_101, 1_003_538, 8, 4_000_000_000] });
    expect(body.devices.map(({ cid }: { cid: number }) => cid)).toEqual([1_003_101]);
    expect(body.total).toBe(1);
  });

  it.each([
    ['size=101', {}, 406],
    ['size=0', {}, 400],
    ['page=0', {}, 400],
    ['size=x', {}, 400],
    ['', { cids: 'all' }, 400],
    ['', { cids: [-1] }, 400],
    ['', { cids: [4_294_967_296] }, 400],
    ['', { cids: [1.5] }, 400],
  ])('is refused with ?%s and %j: %i', async (query, body, status) => {
    expect((await ask(`devices/state?${query}`, body)).status).toBe(status);
  });
});

it('the ranges of an app are told with their usage', async () => {
  const { status, body } = await ask('devices/ids');
  expect(status).toBe(200);
  expect(body).toMatchObject({ app_id: 'Test', cids: TEST.ranges });
});

describe('tokens', () => {
  const lifeOf = (text: string, cid: number) => {
    const reading = parseToken(text);
    if (reading.tag === 'refused') throw new Error(reading.reason);
    expect(reading.token.cid).toBe(cid);
    expect(verifyToken(reading.token, KEY, Date.now()).tag).toBe('valid');
    return reading.token.expireS - inS(0);
  };

  it.each([
    [undefined, 300],
    [60, 60],
    [86_400, 86_400],
    [86_401, 300],
    [0, 300],
    [-5, 300],
    ['soon', 300],
  ])('with the duration %s are valid for %i s', async (duration, lifeS) => {
    const { status, body } = await ask('devices/tokens', { duration, cids: [1_003_001, 5_003_001] });
    expect(status).toBe(200);
    for (const [index, cid] of [1_003_001, 5_003_001].entries()) {
      expect(body.tokens[index].cid).toBe(cid);
      expect(Math.abs(lifeOf(body.tokens[index].token, cid) - lifeS)).toBeLessThanOrEqual(2);
    }
  });

  it('open the device’s channel', async () => {
    const { body } = await ask('devices/tokens', { cids: [1_003_007] });
    const phone = await TestDevice.open(broker.url, 1_003_007, { token: body.tokens[0].token });
    devices.push(phone);
    expect(phone.closeCode).toBeUndefined();
  });

  it('aren’t made for devices of others', async () => {
    for (const cids of [[1_003_538], [1_003_001, 8], [4_000_000_000]])
      expect((await ask('devices/tokens', { cids })).status).toBe(403);
    expect((await ask('devices/tokens', { cids: [] })).status).toBe(400);
    expect((await ask('devices/tokens', {})).status).toBe(400);
  });
});

describe('an authorization', () => {
  const cid = 1_003_201;
  const mockSees = async () => (await ask('devices/state', { cids: [cid] }, by(MOCK))).body.total;
  const authorize = (appIds: string[], text = token(cid), of = TEST) =>
    ask('devices/auth', { cids: [{ cid, token: text }], app_ids: appIds }, by(of));

  it('lets another app of the tenant act for a device until it is cancelled', async () => {
    expect(await mockSees()).toBe(0);
    expect((await authorize(['mock', 'Test'])).status).toBe(200);
    expect((await authorize(['mock'])).status).toBe(200);
    expect(await mockSees()).toBe(1);
    expect((await ask('devices/state', {}, by(MOCK))).body.total).toBe(0);
    const { body } = await ask('devices/tokens', { cids: [cid] }, by(MOCK));
    const reading = parseToken(body.tokens[0].token);
    expect(reading.tag === 'token' && verifyToken(reading.token, TEST.key, Date.now()).tag).toBe('valid');
    expect((await ask('devices/state', {}, by(MOCK))).body.total).toBe(1);
    const push = { proxy: 0, payload: { msg: base64('x'), flag: 3, clients: [cid] } };
    expect((await ask('message/server/push', push, by(MOCK))).status).toBe(200);
    expect(
      (await ask('devices/auth', { cids: [{ cid, token: token(cid) }], app_ids: ['mock'] }, by(MOCK))).status,
    ).toBe(403);
    expect((await ask('devices/auth/cancellation', { cids: [cid], app_ids: ['mock'] }, by(MOCK))).status).toBe(403);
    expect((await ask('devices/auth/cancellation', { cids: [cid], app_ids: ['Test'] })).status).toBe(200);
    expect(await mockSees()).toBe(1);
    expect((await ask('devices/auth/cancellation', { cids: [cid] })).status).toBe(200);
    expect(await mockSees()).toBe(0);
    expect((await ask('message/server/push', push, by(MOCK))).status).toBe(403);
  });

  it('needs valid tokens of the app’s own devices, and apps of the tenant', async () => {
    expect((await authorize(['mock'], token(cid, { key: 'x'.repeat(32) }))).status).toBe(401);
    expect((await authorize(['mock'], token(1_003_202))).status).toBe(401);
    expect((await authorize(['mock'], token(cid, { lifeS: -1 }))).status).toBe(401);
    expect((await authorize(['mock'], token(cid), MOCK)).status).toBe(403);
    expect((await authorize(['far1'])).status).toBe(403);
    expect((await authorize(['none'])).status).toBe(403);
    expect((await authorize([])).status).toBe(400);
    expect(await mockSees()).toBe(0);
  });
});

describe('a message', () => {
  it('of an application’s server reaches each device that is named, once', async () => {
    const [first, second] = [await device(1_003_301), await device(5_003_050)];
    const clients = [1_003_301, 5_003_050, 1_003_301];
    const { status } = await ask('message/server/push', { proxy: 0, payload: { msg: base64('hello'), clients } });
    expect(status).toBe(200);
    for (const phone of [first, second]) await phone.hears(1);
    await ask('message/server/push', { proxy: 0, payload: { msg: base64('last'), flag: 3, clients } });
    for (const phone of [first, second]) {
      await phone.hears(2);
      expect(phone.events.map((event) => 'Name' in event && [event.Name, event.Message, event.SrcID])).toEqual([
        ['PopMessage', base64('hello'), 0],
        ['PopMessage', base64('last'), 0],
      ]);
    }
  });

  it('may be pushed in the name of a device of the app, and is carried out once under its own name', async () => {
    const phone = await device(1_003_302);
    const payload = [{ from: 1_003_001, to: 1_003_302, flag: 2, msg: base64('hi') }];
    for (const id of ['p1', 'p1', 'p2'])
      expect((await ask('message/server/push', { proxy: 1, id, payload })).status).toBe(200);
    await phone.hears(2);
    await ask('message/server/push', { proxy: 1, payload: [{ ...payload[0], msg: base64('end') }] });
    await phone.hears(3);
    expect(phone.events.map((event) => 'Name' in event && [event.Message, event.SrcID])).toEqual([
      [base64('hi'), 1_003_001],
      [base64('hi'), 1_003_001],
      [base64('end'), 1_003_001],
    ]);
    const foreign = [{ ...payload[0], from: 1_003_538 }];
    expect((await ask('message/server/push', { proxy: 1, payload: foreign })).status).toBe(403);
  });

  it('has 256 bytes before base64 at most', async () => {
    const push = (msg: string) => ask('message/server/push', { proxy: 0, payload: { msg, clients: [1_003_303] } });
    const phone = await device(1_003_303);
    expect((await push(base64(Buffer.alloc(256, 7)))).status).toBe(200);
    await phone.hears(1);
    expect((await push(base64(Buffer.alloc(257, 7)))).status).toBe(400);
    for (const msg of ['', 'aGVsbG8', 'not base64', 'aGVs\nbG8=']) expect((await push(msg)).status).toBe(400);
  });

  it.each([
    [{ proxy: 2, payload: {} }],
    [{ proxy: 0, payload: [] }],
    [{ proxy: 1, payload: {} }],
    [{ proxy: 0, payload: { msg: 'aGVsbG8=', flag: 1, clients: [1_003_181] } }],
    [{ proxy: 0, payload: { msg: 'aGVsbG8=' } }],
    [{ payload: { msg: 'aGVsbG8=', clients: [1_003_181] } }],
    [{ proxy: 0, id: '', payload: { msg: 'aGVsbG8=', clients: [] } }],
    [null],
  ])('is refused as %j', async (body) => {
    expect((await ask('message/server/push', body)).status).toBe(400);
  });

  it('isn’t accepted while too many wait for its device', async () => {
    const small = await Broker.start({ ...around.env, WEIR_CALLS_MAX_STORED_MESSAGES: '2' });
    const push = (count: number) =>
      small.request('POST', '/v2/message/server/push', {
        headers: by(TEST),
        body: {
          proxy: 1,
          payload: Array.from({ length: count }, () => ({ from: 0, to: 1_003_309, msg: base64('x') })),
        },
      });
    expect((await push(2)).status).toBe(200);
    expect((await push(1)).status).toBe(429);
    await small.stop();
  });

  it('of a device reaches the devices of the access tokens, and its app’s server if asked for', async () => {
    await broker.service.apps.change('Test', { webhook: hook });
    const phone = await device(1_003_311);
    const push = (callback: number, tokens: string[], headers: Asking['headers']) =>
      ask('message/client/push', { msg: base64('ring'), flag: 3, callback, access_tokens: tokens }, headers);
    const mine = { 'x-client-token': token(1_003_310) };
    expect((await push(1, [token(1_003_311), token(1_003_538)], mine)).status).toBe(200);
    await phone.hears(1);
    expect(phone.events[0]).toMatchObject({ Name: 'PopMessage', Message: base64('ring'), SrcID: 1_003_310 });
    await waitFor(() => told.length > 0, { what: 'the webhook' });
    const [{ headers, body } = expect.unreachable()] = told;
    expect(JSON.parse(body)).toEqual({
      event: 'device-message',
      data: { msg: base64('ring'), from: 1_003_310, to: [1_003_311, 1_003_538], created: expect.any(Number) as number },
    });
    expect(headers).toMatchObject({
      ...{ 'user-agent': 'Topvdn', 'x-app-id': 'Test', 'x-topvdn-event': 'device-message' },
      ...{ 'content-type': 'application/json' },
      'x-event-sign': createHash('md5').update(`Test${body}${KEY}`).digest('hex'),
    });
    expect((await push(0, [], mine)).status).toBe(200);
    const inQuery = await ask(
      `message/client/push?client_token=${token(1_003_310)}`,
      { msg: base64('q'), callback: 0, access_tokens: [token(1_003_311)] },
      {},
    );
    expect(inQuery.status).toBe(200);
    await phone.hears(2);
    expect(told).toHaveLength(1);
  });

  it('of a device needs its own token and valid access tokens', async () => {
    const push = async (headers: Asking['headers'], access = token(1_003_311)) =>
      (await ask('message/client/push', { msg: base64('x'), flag: 3, callback: 0, access_tokens: [access] }, headers))
        .status;
    const viewers = controlWord({ watchPrivate: true, snapshot: true });
    const mine = { 'x-client-token': token(1_003_310) };
    expect(await push({})).toBe(401);
    expect(await push(by(TEST))).toBe(401);
    expect(await push({ 'x-client-token': token(1_003_310, { key: 'x'.repeat(32) }) })).toBe(401);
    expect(await push({ 'x-client-token': token(1_003_310, { lifeS: -1 }) })).toBe(401);
    expect(await push({ 'x-client-token': token(4_000_000_000) })).toBe(401);
    expect(await push({ 'x-client-token': token(1_003_310, { control: viewers }) })).toBe(403);
    expect(await push(mine, token(1_003_311, { lifeS: -1 }))).toBe(401);
    expect(await push(mine, 'nonsense')).toBe(401);
    expect(await push(mine)).toBe(200);
  });
});

describe('webhooks', () => {
  const set = (body: unknown) => ask('apps/webhook', body);

  it('are set, told and removed', async () => {
    expect((await set({ webhook: hook, state_webhook: `${hook}/state` })).body).toMatchObject({
      webhook: hook,
      state_webhook: `${hook}/state`,
    });
    expect((await set({ webhook: '' })).body).toMatchObject({ webhook: '', state_webhook: `${hook}/state` });
    expect((await ask('apps/webhook')).body).toMatchObject({ webhook: '', state_webhook: `${hook}/state` });
    expect((await ask('apps/webhook', undefined, by(MOCK))).body).toMatchObject({ webhook: '', state_webhook: '' });
  });

  it('must be reachable URLs that may be called', async () => {
    expect((await set({ webhook: 'http://127.0.0.1:9/' })).status).toBe(406);
    expect((await set({ webhook: 'http://10.0.0.1/' })).status).toBe(406);
    expect((await set({ webhook: 'http://169.254.169.254/latest' })).status).toBe(406);
    for (const webhook of ['file:///etc/passwd', 'nonsense', 7, null])
      expect((await set({ webhook })).status).toBe(400);
    expect((await ask('apps/webhook')).body).toMatchObject({ webhook: '', state_webhook: '' });
  });

  it('tell when a device comes and goes', async () => {
    await broker.service.apps.change('Test', { stateWebhook: hook });
    const phone = await device(1_003_401);
    await waitFor(() => told.length > 0, { what: 'that the device is online' });
    phone.end();
    await waitFor(() => told.length > 1, { what: 'that the device is offline' });
    expect(told.map(({ headers }) => headers['x-topvdn-event'])).toEqual(['device-state', 'device-state']);
    const [online, offline] = told.map(({ body }) => JSON.parse(body));
    expect(online).toEqual({
      event: 'device-state',
      data: {
        ...{ device: 1_003_401, state: 1, public_ip: '127.0.0.1', public_port: expect.any(Number) as number },
        ...{ tracker_ip: '', tracker_port: 0, local_ip: '0.0.0.0', local_port: 0 },
        ...{ config_type: 0, conn_key: expect.any(Number) as number, relay_ip: '0.0.0.0', relay_port: 0 },
      },
    });
    expect(offline.data).toMatchObject({ device: 1_003_401, state: 0, conn_key: 0 });
  });

  it('tell what became of a device while the database was away, once it is back', async () => {
    await broker.service.apps.change('Test', { stateWebhook: hook });
    const [staying, leaving] = [await device(1_003_402), await device(1_003_403)];
    await waitFor(() => told.length === 2, { what: 'that both are online' });
    await around.postgres.kill();
    leaving.end();
    await broker.service.channels.setState(staying.cid, 4);
    await broker.service.channels.setState(staying.cid, 1);
    await waitFor(async () => !(await broker.service.channels.presences([leaving.cid])).has(leaving.cid));
    await around.postgres.restart();
    await waitFor(() => told.length === 5, { what: 'the changes', timeoutMs: 30_000 });
    const states = told.slice(2).map(({ body }) => JSON.parse(body).data);
    expect(states.filter(({ device }) => device === staying.cid).map(({ state }) => state)).toEqual([4, 1]);
    expect(states.filter(({ device }) => device === leaving.cid).map(({ state }) => state)).toEqual([0]);
  }, 60_000);

  it('tell when a recorded clip is complete', async () => {
    await broker.service.apps.change('Test', { webhook: hook });
    const app = (await broker.service.apps.find('Test')) ?? expect.unreachable();
    await broker.service.webhooks.recordClip(app, { device: 1_003_001, clip_id: 1_024 });
    const { body } = await waitFor(
      () => told.find(({ headers }) => headers['x-topvdn-event'] === 'device-record-clip'),
      { what: 'the webhook' },
    );
    expect(JSON.parse(body)).toEqual({
      event: 'device-record-clip',
      data: { device: 1_003_001, clip_id: 1_024 },
    });
  });
});
