import { waitFor } from '@weir/testing';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { everything, ofRobot } from './testing/grants.js';
import { Robot } from './testing/clients.js';
import { Instance, Surroundings } from './testing/service.js';

let around: Surroundings;
let service: Instance;
let operator: string;

beforeAll(async () => {
  around = await Surroundings.start();
  service = await Instance.start(around, { WEIR_OUTBOUND_ALLOW: '198.51.100.0/24' });
  operator = around.auth.key([...everything, { verb: 'administer', object: '*' }]);
}, 60_000);

afterAll(async () => {
  await service.stop();
  await around.stop();
});

const ask = (
  method: 'GET' | 'POST' | 'PUT' | 'DELETE',
  path: string,
  body?: unknown,
  as: string | undefined = operator,
) => service.request(method, `/channel/robots${path}`, as, body);

test('robots and cameras are made, listed, changed and removed', async () => {
  const made = await ask('POST', '', { id: 'rest1', cameras: [{ name: 'top' }, { name: 'rear', pinned: true }] });
  expect(made).toMatchObject({
    status: 201,
    json: {
      id: 'rest1',
      online: false,
      cameras: [
        { name: 'rear', pinned: true },
        { name: 'top', pinned: false },
      ],
      defaultCamera: 'rear',
    },
  });
  expect((await ask('PUT', '/rest1', { defaultCamera: 'top' })).json.defaultCamera).toBe('top');
  expect((await ask('PUT', '/rest1', { defaultCamera: null })).json.defaultCamera).toBe('rear');
  expect(
    await ask('POST', '/rest1/cameras', { name: 'front', rtspUrl: 'rtsp://me:pw@198.51.100.7:554/a?b=c' }),
  ).toEqual({
    status: 201,
    json: { name: 'front', pinned: false, rtspUrl: 'rtsp://me:***@198.51.100.7:554/a?b=c' },
  });
  expect((await ask('GET', '/rest1')).json.defaultCamera).toBe('front');
  expect((await ask('PUT', '/rest1/cameras/front', { rtspUrl: null, pinned: true })).json).toEqual({
    name: 'front',
    pinned: true,
  });
  expect((await ask('DELETE', '/rest1/cameras/rear')).status).toBe(204);
  expect((await ask('GET', '/rest1/cameras/')).json.cameras.map(({ name }: { name: string }) => name)).toEqual([
    'front',
    'top',
  ]);
  expect((await ask('DELETE', '/rest1')).status).toBe(204);
  expect((await ask('GET', '/rest1')).status).toBe(404);
  // Its cameras are removed too: a new robot of the same name has none.
  expect((await ask('POST', '', { id: 'rest1' })).json.cameras).toEqual([]);
  await ask('DELETE', '/rest1');
});

test('a robot is removed whatever content type the request names', async () => {
  await ask('POST', '', { id: 'rest2', cameras: [{ name: 'top' }] });
  const remove = (path: string) =>
    fetch(`${service.wsUrl.replace('ws', 'http')}/channel/robots${path}`, {
      method: 'DELETE',
      headers: { authorization: `Bearer ${operator}`, 'content-type': 'application/json' },
    });
  expect((await remove('/rest2/cameras/top')).status).toBe(204);
  expect((await remove('/rest2')).status).toBe(204);
  expect((await ask('GET', '/rest2')).status).toBe(404);
});

test.each([[''], ['application/x-www-form-urlencoded'], ['text/plain']])(
  'JSON is taken with the content type "%s"',
  async (type) => {
    const response = await fetch(`${service.wsUrl.replace('ws', 'http')}/channel/robots`, {
      method: 'POST',
      headers: { authorization: `Bearer ${operator}`, 'content-type': type },
      body: new TextEncoder().encode('{"id":"rest3"}'),
    });
    expect(response.status).toBe(201);
    expect((await ask('DELETE', '/rest3')).status).toBe(204);
  },
);

test.each([
  ['rtsp://198.51.100.7/', 'rtsp://198.51.100.7/'],
  ['rtsps://198.51.100.7/live', 'rtsps://198.51.100.7/live'],
  ['rtsps://me:pw@198.51.100.7:554/live', 'rtsps://me:***@198.51.100.7:554/live'],
  ['rtsp://me:p@ss#w:rd@198.51.100.7/live', 'rtsp://me:***@198.51.100.7/live'],
])('a camera may be pulled from %s', async (rtspUrl, shown) => {
  const changed = await ask('PUT', '/robot_dog_sr_20002/cameras/back', { rtspUrl });
  expect([changed.status, changed.json]).toEqual([200, { name: 'back', pinned: false, rtspUrl: shown }]);
  await ask('PUT', '/robot_dog_sr_20002/cameras/back', { rtspUrl: null });
});

test('a list shows who is online, and goes on after the last page', async () => {
  const dog = await Robot.open(service.wsUrl, around.auth.key(ofRobot('robot_dog_sr_20001')));
  await waitFor(() => service.channel.robots.count === 1);
  const summary = async (query: string) =>
    (await ask('GET', query)).json.robots.map(({ id, online }: { id: string; online: boolean }) => [id, online]);
  expect(await summary('?limit=1')).toEqual([['robot_dog_sr_20001', true]]);
  expect(await summary('?limit=5&after=robot_dog_sr_20001')).toEqual([['robot_dog_sr_20002', false]]);
  dog.end();
});

describe('a request', () => {
  it.each([
    ['POST', '', { id: 'a/b' }, 'id'],
    ['POST', '', { id: '*' }, 'id'],
    ['POST', '', {}, 'id'],
    ['POST', '', { id: 'x', tenant: 'other' }, 'body'],
    ['POST', '', { id: 'x', cameras: [{ name: 'a' }, { name: 'a' }] }, 'cameras'],
    ['POST', '', { id: 'x', cameras: [{ name: 'a' }], defaultCamera: 'b' }, 'defaultCamera'],
    ['POST', '', { id: 'x', cameras: [{ name: 'a', rtspUrl: 'http://198.51.100.7/' }] }, 'cameras.0.rtspUrl'],
    ['POST', '/robot_dog_sr_20001/cameras', { name: '' }, 'name'],
    ['PUT', '/robot_dog_sr_20001', { defaultCamera: 'none' }, 'defaultCamera'],
    ['PUT', '/robot_dog_sr_20001/cameras/front', { rtspUrl: 'file:///etc/passwd' }, 'rtspUrl'],
    ['PUT', '/robot_dog_sr_20001/cameras/front', { rtspUrl: 'rtsp://127.0.0.1/' }, 'rtspUrl'],
    ['PUT', '/robot_dog_sr_20001/cameras/front', { rtspUrl: 'rtsp://[::1]:554/' }, 'rtspUrl'],
    ['PUT', '/robot_dog_sr_20001/cameras/front', { rtspUrl: 'rtsp://169.254.169.254/' }, 'rtspUrl'],
    ['PUT', '/robot_dog_sr_20001/cameras/front', { rtspUrl: 'rtsp://127.1/' }, 'rtspUrl'],
    ['PUT', '/robot_dog_sr_20001/cameras/front', { rtspUrl: 'rtsp://198.51.100.7:22/' }, 'rtspUrl'],
    ['PUT', '/robot_dog_sr_20001/cameras/front', { rtspUrl: 'rtsp://user%0a:x@198.51.100.7/' }, 'rtspUrl'],
    ['GET', '?limit=0', undefined, 'limit'],
  ] as const)('%s %s with %j is refused for its %s', async (method, path, body, field) => {
    const { status, json } = await ask(method, path, body);
    expect([status, json.error.code, Object.keys(json.error.fields)]).toEqual([400, 'INVALID', [field]]);
  });

  it('for what does not exist, or exists already, gets that answer', async () => {
    expect((await ask('POST', '', { id: 'robot_dog_sr_20001' })).status).toBe(409);
    expect((await ask('POST', '/robot_dog_sr_20001/cameras', { name: 'front' })).status).toBe(409);
    for (const [method, path, body] of [
      ['GET', '/none'],
      ['PUT', '/none', { defaultCamera: null }],
      ['DELETE', '/none'],
      ['POST', '/none/cameras', { name: 'front' }],
      ['PUT', '/robot_dog_sr_20001/cameras/none', { pinned: true }],
      ['DELETE', '/robot_dog_sr_20001/cameras/none'],
    ] as const)
      expect([method, path, (await ask(method, path, body)).status]).toEqual([method, path, 404]);
  });
});

describe('the operator’s REST', () => {
  it.each([
    ['of a member', () => around.auth.key(everything), 403, 403],
    ['of a robot', () => around.auth.key(ofRobot('robot_dog_sr_20001')), 403, 403],
    [
      'of one robot’s administrator',
      () => around.auth.key([{ verb: 'administer', object: 'robots/robot_dog_sr_20001' }]),
      403,
      200,
    ],
    ['of another tenant’s operator', () => around.auth.key([{ verb: 'administer', object: '*' }], 'other'), 200, 404],
    ['that does not exist', () => 'weir_nonsense', 401, 401],
  ])('with a key %s', async (_whose, key, list, one) => {
    const as = key();
    expect((await ask('GET', '', undefined, as)).status).toBe(list);
    expect((await ask('GET', '/robot_dog_sr_20001', undefined, as)).status).toBe(one);
  });

  it('takes no key from the address or a cookie', async () => {
    expect((await service.request('GET', `/channel/robots?token=${operator}`)).status).toBe(401);
    expect((await service.request('GET', '/channel/robots')).json.error.code).toBe('UNAUTHENTICATED');
  });

  it('shows other tenants nothing', async () => {
    const foreign = around.auth.key([{ verb: 'administer', object: '*' }], 'other');
    expect((await ask('GET', '', undefined, foreign)).json).toEqual({ robots: [] });
    expect((await ask('POST', '', { id: 'robot_dog_sr_20001' }, foreign)).status).toBe(201);
    expect((await ask('DELETE', '/robot_dog_sr_20001', undefined, foreign)).status).toBe(204);
    expect((await ask('GET', '/robot_dog_sr_20001')).status).toBe(200);
  });
});
