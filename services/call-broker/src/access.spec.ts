import { RequestMethod, type Type } from '@nestjs/common';
import { controlWord, DEVICE_CONTROL, makeToken } from '@weir/protocol-topvdn';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AppsController } from './apps-http.js';
import { CallsController } from './calls-http.js';
import { SnapshotsController } from './snapshots-http.js';
import { Broker, KEYS, startSurroundings, type Asking, type Surroundings } from './testing/broker.js';
import { WebApiController } from './web-api-http.js';

const OURS = {
  id: 'ours',
  key: 'o'.repeat(32),
  tenant: 'house',
  ranges: [{ begin: 100, end: 199, usage: 1 as const }],
};
const SAME = {
  id: 'same',
  key: 's'.repeat(32),
  tenant: 'house',
  ranges: [{ begin: 200, end: 299, usage: 1 as const }],
};
const FAR = {
  id: 'far1',
  key: 'f'.repeat(32),
  tenant: 'neighbours',
  ranges: [{ begin: 300, end: 399, usage: 1 as const }],
};
const CID = 150;
const FREE_CID = 4_000_000_000;

let around: Surroundings;
let broker: Broker;

beforeAll(async () => {
  around = await startSurroundings();
  broker = await Broker.start(around.env);
  for (const app of [OURS, SAME, FAR]) await broker.service.apps.create(app);
  await broker.service.apps.seen([CID]);
}, 60_000);

afterAll(async () => {
  await broker.stop();
  await around.stop();
});

const token = (cid: number, { control = DEVICE_CONTROL, key = OURS.key, lifeS = 600 } = {}) =>
  makeToken({ cid, control, expireS: Math.floor(Date.now() / 1_000) + lifeS }, key);
const app = ({ id, key }: { id: string; key: string }): Asking => ({ headers: { 'x-app-id': id, 'x-app-key': key } });
const device = (text: string): Asking => ({ headers: { 'x-client-token': text } });

/** Everybody but the app `ours`, the device and the operator of the tenant `house`. */
const strangers: Readonly<Record<string, () => Asking>> = {
  'without a credential': () => ({}),
  'with an unknown API key': () => ({ as: `weir_${'u'.repeat(12)}_${'u'.repeat(43)}` }),
  'with an API key that administers robots': () => ({ as: KEYS.robots }),
  'with an API key of a member': () => ({ as: KEYS.member }),
  'with an API key of another tenant': () => ({ as: KEYS.neighbour }),
  'as an unknown app': () => app({ id: 'none', key: OURS.key }),
  'with a wrong app key': () => app({ id: 'ours', key: SAME.key }),
  'with an empty app key': () => app({ id: 'ours', key: '' }),
  'as another app of the tenant': () => app(SAME),
  'as an app of another tenant': () => app(FAR),
  'as another device': () => device(token(CID + 1)),
  'as a device of another app': () => device(token(250, { key: SAME.key })),
  'with an expired token': () => device(token(CID, { lifeS: -1 })),
  'with a token for too long': () => device(token(CID, { lifeS: 400 * 86_400 })),
  'with a token that another app has signed': () => device(token(CID, { key: SAME.key })),
  'with a token whose control word is another’s': () =>
    device(token(CID, { control: 0 }).replace(/_0_/, `_${DEVICE_CONTROL}_`)),
  'with a token to listen': () => device(token(CID, { control: controlWord({ audio: true }) })),
};

const operatorsCalls = {
  'GET calls/apps': undefined,
  'POST calls/apps': { ranges: [{ begin: 900, end: 901 }] },
  'GET calls/apps/:id': undefined,
  'PUT calls/apps/:id': { webhook: '' },
  'POST calls/apps/:id/key': {},
  'DELETE calls/apps/:id': undefined,
  'GET calls/records': undefined,
  'POST calls/:id/recording': undefined,
} as const;
/** The calls of application servers for a device; `state` and what is about the app itself have tests of their own. */
const appsCalls: Readonly<Record<string, (cid: number) => unknown>> = {
  'POST v2/devices/tokens': (cid) => ({ cids: [cid] }),
  'POST v2/devices/auth': (cid) => ({ cids: [{ cid, token: token(CID) }], app_ids: ['ours'] }),
  'POST v2/devices/auth/cancellation': (cid) => ({ cids: [cid] }),
  'POST v2/message/server/push': (cid) => ({ proxy: 0, payload: { msg: 'aGk=', flag: 2, clients: [cid] } }),
};
const devicesCalls: Readonly<Record<string, (cid: number) => string>> = {
  'GET v2/snapshots/:cid/cover': (cid) => `/v2/snapshots/${cid}/cover`,
  'POST v2/devices/:cid/snapshots': (cid) => `/v2/devices/${cid}/snapshots`,
};
const otherCalls = [
  ...['POST v2/devices/state', 'GET v2/devices/ids', 'GET v2/apps/webhook', 'POST v2/apps/webhook'],
  'POST v2/message/client/push',
];

const callsOf = (controller: Type): string[] =>
  Object.getOwnPropertyNames(controller.prototype).flatMap((name) => {
    const handler: unknown = (controller.prototype as Record<string, unknown>)[name];
    if (typeof handler !== 'function' || !Reflect.hasMetadata('method', handler)) return [];
    const method = RequestMethod[Reflect.getMetadata('method', handler) as RequestMethod];
    const path = [Reflect.getMetadata('path', controller), Reflect.getMetadata('path', handler)] as string[];
    return `${method} ${path.filter((part) => part !== '/').join('/')}`;
  });

const ask = async (call: string, path: string, stranger: Asking, body?: unknown) => {
  const [method] = call.split(' ') as ['GET' | 'POST' | 'PUT' | 'DELETE'];
  const answer = await broker.request(method, path, { ...stranger, ...(body !== undefined && { body }) });
  return { status: answer.status, body: { ...answer.body, request_id: 'its own' } };
};

it('every call of the service is among those that are tried here', () => {
  const all = [AppsController, CallsController, WebApiController, SnapshotsController].flatMap(callsOf);
  const tried = [operatorsCalls, appsCalls, devicesCalls].flatMap((calls) => Object.keys(calls));
  expect(all.sort()).toEqual([...tried, ...otherCalls].sort());
});

describe.each(Object.entries(strangers))('%s', (_who, stranger) => {
  it.each(Object.entries(operatorsCalls))(
    '%s is refused, for this app as for one that doesn’t exist',
    async (call, body) => {
      const path = `/${call.split(' ')[1]}`;
      const answer = await ask(call, path.replace(':id', 'ours'), stranger(), body);
      const ofNothing = await ask(call, path.replace(':id', 'zzzz'), stranger(), body);
      const isNeighbour = stranger().as === KEYS.neighbour && !path.includes(':id');
      if (isNeighbour) expect(JSON.stringify(answer.body)).not.toContain('ours');
      else expect([401, 403, 404]).toContain(answer.status);
      if (path.includes(':id'))
        expect(JSON.stringify(answer).replaceAll('ours', 'zzzz')).toBe(JSON.stringify(ofNothing));
    },
  );

  it.each(Object.entries(appsCalls))(
    '%s is refused, for this device as for one that doesn’t exist',
    async (call, bodyOf) => {
      const path = `/${call.split(' ')[1]}`;
      const answer = await ask(call, path, stranger(), bodyOf(CID));
      expect([401, 403]).toContain(answer.status);
      expect(answer).toEqual(await ask(call, path, stranger(), bodyOf(FREE_CID)));
    },
  );

  it.each(Object.entries(devicesCalls))('%s is refused', async (call, pathOf) => {
    const answer = await ask(call, pathOf(CID), stranger(), call.startsWith('POST') ? 'x' : undefined);
    expect([401, 403]).toContain(answer.status);
  });

  it('nothing of the app is told', async () => {
    const state = await ask('POST', '/v2/devices/state', stranger(), { cids: [CID] });
    const all = await ask('POST', '/v2/devices/state', stranger(), {});
    for (const { status, body } of [state, all])
      if (status !== 401) expect([status, body.devices, body.total]).toEqual([200, [], 0]);
    for (const path of ['/v2/devices/ids', '/v2/apps/webhook']) {
      const { status, body } = await ask('GET', path, stranger());
      if (status !== 401) expect(JSON.stringify(body)).not.toMatch(/ours|"begin":100/);
    }
    const mayPush = (
      await ask('POST', '/v2/message/client/push', stranger(), {
        ...{ msg: 'aGk=', flag: 3, callback: 0, access_tokens: [token(CID, { key: FAR.key })] },
      })
    ).status;
    expect([401, 403]).toContain(mayPush);
  });
});

it('none of these has changed anything, and each sees what is its own', async () => {
  const { status, body } = await broker.request('GET', '/calls/apps/ours', { as: KEYS.operator });
  expect([status, body]).toMatchObject([200, { id: 'ours', ranges: OURS.ranges, webhook: '' }]);
  expect(await broker.service.apps.authenticate('ours', OURS.key)).toBeDefined();
  expect(await broker.service.apps.database.deviceMessage.count()).toBe(0);
  expect(await broker.service.apps.database.deviceGrant.count()).toBe(0);
  const all = await broker.request('POST', '/v2/devices/state', { ...app(OURS), body: {} });
  expect(all.body).toMatchObject({ total: 1, devices: [{ cid: CID }] });
});

it('a device that gets another app begins anew, without grants, messages and pictures', async () => {
  const { apps, covers, messages } = broker.service;
  const owner = (id: string) => ({
    id,
    key: OURS.key,
    tenant: 'house',
    ranges: [{ begin: 600, end: 600, usage: 1 as const }],
  });
  const left = async () => [
    (await apps.grantedTo('same', [600])).size,
    await apps.database.deviceMessage.count({ where: { cid: 600n } }),
    (await covers.of(600)) === undefined ? 0 : 1,
    (await apps.devicesOf('old1', 0, 10)).total + (await apps.devicesOf('new1', 0, 10)).total,
  ];
  await apps.create(owner('old1'));
  await apps.seen([600]);
  await apps.grant([600], ['same']);
  await covers.upload(600, 'image/png', Buffer.from('x'));
  await messages.accept({
    app: { ...owner('old1'), wakeHook: '' },
    messages: [{ to: 600, from: 0, msg: 'aGk=', flag: 2 }],
  });
  await apps.change('old1', { webhook: 'https://a.example/' });
  expect(await left()).toEqual([1, 1, 1, 1]);
  await apps.change('old1', { ranges: [{ begin: 601, end: 601, usage: 1 }] });
  await apps.create(owner('new1'));
  expect(await left()).toEqual([0, 0, 0, 0]);
});

it('the key of an app that is removed or replaced opens nothing, and neither do the tokens that it has signed', async () => {
  const gone = {
    id: 'gone',
    key: 'g'.repeat(32),
    tenant: 'house',
    ranges: [{ begin: 500, end: 509, usage: 1 as const }],
  };
  await broker.service.apps.create(gone);
  const push = { msg: 'aGk=', flag: 3, callback: 0, access_tokens: [] };
  const statuses = async () => [
    (await broker.request('GET', '/v2/devices/ids', app(gone))).status,
    (await broker.request('POST', '/v2/message/client/push', { ...device(token(505, { key: gone.key })), body: push }))
      .status,
  ];
  expect(await statuses()).toEqual([200, 200]);
  await broker.service.apps.change('gone', { key: 'n'.repeat(32) });
  expect(await statuses()).toEqual([401, 401]);
  await broker.service.apps.change('gone', { key: gone.key, ranges: [{ begin: 510, end: 519, usage: 1 }] });
  expect(await statuses()).toEqual([200, 401]);
  await broker.service.apps.remove('gone');
  expect(await statuses()).toEqual([401, 401]);
});
