import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Broker, KEYS, startSurroundings, type Surroundings } from './testing/broker.js';

let around: Surroundings;
let broker: Broker;

beforeAll(async () => {
  around = await startSurroundings();
  broker = await Broker.start(around.env);
}, 60_000);

afterAll(async () => {
  await broker.stop();
  await around.stop();
});

const as = KEYS.operator;
const create = (body: unknown) => broker.request('POST', '/calls/apps', { as, body });

it('is healthy as long as its database answers', async () => {
  expect(await broker.context.health.report()).toMatchObject({ status: 'ok' });
});

describe('an operator', () => {
  it('makes an app with an id of 4 and a key of 32 characters, which is told only then', async () => {
    const made = await create({ ranges: [{ begin: 100, end: 199 }] });
    expect(made.status).toBe(201);
    expect(made.body).toMatchObject({
      id: expect.stringMatching(/^[A-Za-z0-9]{4}$/) as string,
      key: expect.stringMatching(/^[A-Za-z0-9]{32}$/) as string,
      ranges: [{ begin: 100, end: 199, usage: 1 }],
    });
    const { key, ...known } = made.body;
    expect(await broker.service.apps.authenticate(known.id, key)).toMatchObject({ id: known.id, tenant: 'house' });
    const shown = await broker.request('GET', `/calls/apps/${known.id}`, { as });
    expect(shown.body).toEqual(known);
    expect((await broker.request('GET', '/calls/apps', { as })).body.apps).toEqual([known]);
    await broker.request('DELETE', `/calls/apps/${known.id}`, { as });
    expect((await broker.request('GET', `/calls/apps/${known.id}`, { as })).status).toBe(404);
    expect(await broker.service.apps.ownerOf(150)).toBeUndefined();
  });

  it('gives ranges of devices to one app each', async () => {
    const first = await create({ id: 'one1', ranges: [{ begin: 1_000, end: 1_999, usage: 2 }] });
    expect(first.status).toBe(201);
    const owner = async (cid: number) => (await broker.service.apps.ownerOf(cid))?.id;
    expect([await owner(999), await owner(1_000), await owner(1_999), await owner(2_000)]).toEqual([
      undefined,
      'one1',
      'one1',
      undefined,
    ]);
    expect((await create({ id: 'two2', ranges: [{ begin: 1_999, end: 2_500 }] })).status).toBe(409);
    expect((await create({ id: 'one1', ranges: [{ begin: 5_000, end: 5_001 }] })).status).toBe(409);
    const moved = await broker.request('PUT', '/calls/apps/one1', {
      as,
      body: { ranges: [{ begin: 4_294_967_295, end: 4_294_967_295 }] },
    });
    expect(moved.body.ranges).toEqual([{ begin: 4_294_967_295, end: 4_294_967_295, usage: 1 }]);
    expect([await owner(1_000), await owner(4_294_967_295)]).toEqual([undefined, 'one1']);
    expect((await create({ id: 'two2', ranges: [{ begin: 1_999, end: 2_500 }] })).status).toBe(201);
  });

  it('replaces a key that has become known', async () => {
    const { body } = await create({ ranges: [{ begin: 10_000, end: 10_000 }], key: 'k'.repeat(16) });
    expect(body.key).toBe('k'.repeat(16));
    const { body: changed } = await broker.request('POST', `/calls/apps/${body.id}/key`, { as });
    expect(changed.key).toMatch(/^[A-Za-z0-9]{32}$/);
    expect(await broker.service.apps.authenticate(body.id, body.key)).toBeUndefined();
    expect(await broker.service.apps.authenticate(body.id, changed.key)).toMatchObject({ id: body.id });
  });

  it.each([
    [{}],
    [{ ranges: [] }],
    [{ ranges: [{ begin: 0, end: 5 }] }],
    [{ ranges: [{ begin: 7, end: 5 }] }],
    [{ ranges: [{ begin: 1.5, end: 5 }] }],
    [{ ranges: [{ begin: 1, end: 4_294_967_296 }] }],
    [{ ranges: [{ begin: '1', end: 5 }] }],
    [{ ranges: [{ begin: 1, end: 5, usage: 3 }] }],
    [{ ranges: [{ begin: 1, end: 5 }], id: 'long5' }],
    [{ ranges: [{ begin: 1, end: 5 }], id: '../x' }],
    [{ ranges: [{ begin: 1, end: 5 }], key: 'short' }],
    [{ ranges: [{ begin: 1, end: 5 }], key: `${'k'.repeat(20)}\n` }],
    [{ ranges: [{ begin: 1, end: 5 }], tenant: 'neighbours' }],
    ['text'],
    [null],
  ])('is refused %j', async (body) => {
    expect((await create(body)).status).toBe(400);
  });
});
