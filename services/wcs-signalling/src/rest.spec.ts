import { ApplicationPolicy } from '@weir/contracts';
import { waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Client } from './testing/client.js';
import { PNG } from './testing/fake-media.js';
import { startService, startSurroundings, type Running, type Surroundings } from './testing/service.js';

let around: Surroundings;
let here: Running;
let there: Running;
let operator: string;
const clients: Client[] = [];

beforeAll(async () => {
  around = await startSurroundings();
  around.applications.set({ appKey: 'otherApp', tenant: 'other', policy: ApplicationPolicy.OPEN });
  ({ token: operator } = await around.auth.mint([{ verb: 'administer', object: '*' }]));
  here = await startService(around, {}, 'wcs-signalling-here');
  there = await startService(around, {}, 'wcs-signalling-there');
});
beforeEach(async () => {
  // Waits until the instances know each other.
  await waitFor(async () => {
    const client = await connect(there);
    const { status } = await rest('GET', 'connection/find_all');
    client.end();
    return status === 200;
  });
  await waitFor(async () => (await rest('GET', 'connection/find_all')).status === 404);
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.end();
  await waitFor(() => here.wcs.sessions.load.sessions + there.wcs.sessions.load.sessions === 0);
  around.media.published.clear();
  around.media.played.clear();
});
afterAll(async () => {
  await Promise.all([here.stop(), there.stop()]);
  await around.stop();
});

const connect = async (to: Running, connection = {}): Promise<Client> => {
  const client = await Client.connect(to.wsUrl, connection);
  clients.push(client);
  return client;
};

const rest = async (method: 'GET' | 'POST', path: string, body?: unknown, token = operator) => {
  const response = await fetch(`${here.httpUrl}/rest-api/${path}`, {
    method,
    headers: {
      ...(token === '' ? {} : { authorization: `Bearer ${token}` }),
      ...(method === 'POST' ? { 'content-type': 'application/json' } : {}),
    },
    ...(method === 'POST' && body !== undefined
      ? { body: typeof body === 'string' ? body : JSON.stringify(body) }
      : {}),
  });
  const text = await response.text();
  return { status: response.status, text, body: text === '' ? undefined : JSON.parse(text) };
};

describe('streams', () => {
  it('of all instances are found, by POST and by GET, with the fields of the original', async () => {
    const [publisher, player] = [await connect(here), await connect(there)];
    await publisher.publishes('p', 'cam');
    await player.plays('v', 'cam');
    const found = await rest('GET', 'stream/find_all');
    expect(found.status).toBe(200);
    expect(found.body).toHaveLength(2);
    const { authToken } = await player.hears('getUserData');
    expect(found.body).toContainEqual(
      expect.objectContaining({
        mediaSessionId: 'v',
        name: 'cam',
        published: false,
        status: 'PLAYING',
        audioCodec: 'opus',
        videoCodec: 'H264',
        appKey: 'defaultApp',
        sessionId: authToken,
        mediaType: 'play',
        width: 640,
        height: 360,
      }),
    );
    for (const body of [undefined, {}, '']) expect((await rest('POST', 'stream/find_all', body)).body).toHaveLength(2);
  });

  it('say what a player does not get, in the list and to the player', async () => {
    const client = await connect(there);
    await client.publishes('p', 'half');
    const notCarried = ["video H264: the player doesn't take it"];
    around.media.notCarriedToPlayers = notCarried;
    await client.plays('v', 'half');
    around.media.notCarriedToPlayers = [];
    expect(await client.status('v', 'PLAYING')).toMatchObject({ notCarried });
    const found = (await rest('POST', 'stream/find', { mediaSessionId: 'v' })).body as object[];
    expect(found).toEqual([expect.objectContaining({ notCarried })]);
  });

  it('are found by the given fields', async () => {
    const client = await connect(there);
    await client.publishes('p1', 'one');
    await client.publishes('p2', 'two');
    await client.plays('v1', 'one');
    const ids = async (filter: object) =>
      ((await rest('POST', 'stream/find', filter)).body as { mediaSessionId: string }[])
        .map(({ mediaSessionId }) => mediaSessionId)
        .sort();
    expect(await ids({ name: 'one' })).toEqual(['p1', 'v1']);
    expect(await ids({ name: 'one', published: true })).toEqual(['p1']);
    expect(await ids({ status: 'PLAYING' })).toEqual(['v1']);
    expect(await ids({ mediaSessionId: 'p2' })).toEqual(['p2']);
    expect(await ids({ mediaSessionIds: ['p2', 'v1'] })).toEqual(['p2', 'v1']);
    expect((await rest('POST', 'stream/find', { name: 'three' })).status).toBe(404);
    const [stream] = (await rest('POST', 'stream/find', { name: 'two', display: ['metrics'] })).body;
    expect(stream.metrics).toMatchObject({ VIDEO_RATE: 500_000, VIDEO_FPS: 30, VIDEO_WIDTH: 640, AUDIO_RATE: 0 });
  });

  it('are terminated on whichever instance they are', async () => {
    const client = await connect(there);
    await client.publishes('p', 'cam');
    await client.plays('v', 'cam');
    expect(await rest('POST', 'stream/terminate', { name: 'cam', published: false })).toMatchObject({
      status: 200,
      text: '',
    });
    expect(await client.status('v', 'FAILED')).toMatchObject({ info: 'Stopped by rest /terminate' });
    expect((await rest('POST', 'stream/terminate', { mediaSessionId: 'p' })).status).toBe(200);
    expect(await client.status('p', 'FAILED')).toMatchObject({ info: 'Stopped by rest /terminate' });
    await waitFor(() => around.media.published.size === 0);
    expect((await rest('POST', 'stream/terminate', { mediaSessionId: 'p' })).status).toBe(404);
    expect((await rest('POST', 'stream/terminate', {})).status).toBe(400);
  });

  it('show their current frame', async () => {
    await (await connect(there)).publishes('p', 'cam');
    expect((await rest('POST', 'stream/snapshot', { streamName: 'cam' })).body).toEqual({
      data: PNG.toString('base64'),
    });
    expect((await rest('POST', 'stream/snapshot', { streamName: 'none' })).status).toBe(404);
    await (await connect(there)).publishes('d', 'dark');
    expect((await rest('POST', 'stream/snapshot', { streamName: 'dark' })).status).toBe(500);
  });

  it('of more sessions than fit into one answer are all found', async () => {
    const many = await Promise.all(Array.from({ length: 205 }, () => connect(there)));
    expect((await rest('GET', 'connection/find_all')).body).toHaveLength(many.length);
  }, 30_000);
});

describe('connections', () => {
  it('of all instances are listed and terminated', async () => {
    const [one, two] = [await connect(here), await connect(there, { clientVersion: '0.5.28' })];
    const listed = (await rest('POST', 'connection/find_all')).body;
    const { authToken } = await two.hears('getUserData');
    expect(listed).toHaveLength(2);
    expect(listed).toContainEqual(
      expect.objectContaining({ sessionId: authToken, appKey: 'defaultApp', clientVersion: '0.5.28', streams: 0 }),
    );
    expect((await rest('POST', 'connection/terminate', { sessionId: authToken })).status).toBe(200);
    expect(await two.closes()).toBe(4440);
    expect(one.closeCode).toBeUndefined();
    expect((await rest('POST', 'connection/terminate', { sessionId: authToken })).status).toBe(404);
  });
});

describe('a caller', () => {
  const routes = [
    ['GET', 'stream/find_all'],
    ['GET', 'stream/find'],
    ['POST', 'stream/find'],
    ['POST', 'stream/find_all'],
    ['POST', 'stream/terminate'],
    ['POST', 'stream/snapshot'],
    ['GET', 'connection/find_all'],
    ['POST', 'connection/find_all'],
    ['POST', 'connection/terminate'],
  ] as const;

  it.each(routes)('needs a credential that administers, for %s %s', async (method, path) => {
    await (await connect(here)).publishes('p', 'cam');
    const body = { name: 'cam', streamName: 'cam', sessionId: 'x' };
    expect((await rest(method, path, body, '')).status).toBe(401);
    expect((await rest(method, path, body, 'a.b.c')).status).toBe(401);
    const { token: player } = await around.auth.mint([{ verb: 'play', object: '*' }]);
    expect((await rest(method, path, body, player)).status).toBe(403);
  });

  it('sees and ends nothing of another tenant', async () => {
    const client = await connect(there, { appKey: 'otherApp' });
    await client.publishes('p', 'theirs');
    for (const [method, path] of routes)
      expect([
        path,
        (await rest(method, path, { name: 'theirs', streamName: 'theirs', sessionId: '/127.0.0.1:1/127.0.0.1:2' }))
          .status,
      ]).toEqual([path, 404]);
    expect(around.media.published.size).toBe(1);
  });

  it('sees only what its grants cover', async () => {
    const client = await connect(there);
    await client.publishes('p1', 'mine-1');
    await client.publishes('p2', 'yours-1');
    const { token } = await around.auth.mint([{ verb: 'administer', object: 'mine-*' }]);
    const { body } = await rest('GET', 'stream/find_all', undefined, token);
    expect(body.map(({ name }: { name: string }) => name)).toEqual(['mine-1']);
    expect((await rest('POST', 'stream/terminate', { mediaSessionId: 'p2' }, token)).status).toBe(404);
    expect((await rest('GET', 'connection/find_all', undefined, token)).status).toBe(404);
  });

  it.each([[''], ['application/x-www-form-urlencoded'], ['text/plain;charset=UTF-8'], ['no type']])(
    'may send JSON with the content type "%s"',
    async (type) => {
      await (await connect(here)).publishes('p', 'cam');
      const response = await fetch(`${here.httpUrl}/rest-api/stream/find`, {
        method: 'POST',
        headers: { authorization: `Bearer ${operator}`, 'content-type': type },
        body: new TextEncoder().encode('{"name":"cam"}'),
      });
      expect(await response.json()).toMatchObject([{ name: 'cam' }]);
    },
  );

  it.each([
    ['POST', 'stream/find', 'name=cam', 400, 'INVALID'],
    ['POST', 'stream/find', { name: 'none' }, 404, 'NOT_FOUND'],
    ['POST', 'stream/terminate', { name: 'none' }, 404, 'NOT_FOUND'],
    ['POST', 'stream/nothing?token=secret', {}, 404, 'NOT_FOUND'],
    ['GET', 'stream/terminate?token=secret', undefined, 405, 'INVALID'],
    ['GET', 'stream/%zz?token=secret', undefined, 400, 'INVALID'],
  ] as const)('gets every error in the same form: %s %s %j', async (method, path, body, status, code) => {
    const answer = await rest(method, path, body);
    expect(answer).toMatchObject({ status, body: { error: { code, message: expect.any(String), fields: {} } } });
    expect(answer.text).not.toContain('secret');
  });

  it.each([['{'], ['[]'], ['{"name":5}'], [JSON.stringify({ mediaSessionIds: 'x' })]])(
    'is told 400 for the body %s',
    async (body) => {
      expect((await rest('POST', 'stream/find', body)).status).toBe(400);
    },
  );
});
