import { revocationKey } from '@weir/access';
import { ErrorCode, HlsAddresses, Robots, WeirError } from '@weir/contracts';
import { waitFor } from '@weir/testing';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { H264 } from './testing/fake-media.js';
import { parsePlaylist, Player } from './testing/player.js';
import { startService, startSurroundings, type Running, type Surroundings } from './testing/service.js';

let around: Surroundings;
let service: Running;
let token: string;
let apiKey: string;
const logLines: string[] = [];

const mayPlay = (object: string) => [{ verb: 'play', object }];
const withToken = (own: string) => new Player(service.url, { authorization: `Bearer ${own}` });
const post = (player: Player, body: unknown, query = '') =>
  player.get(`/stream/${query}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
const rtspUrl = (path: string) => `rtsp://stream.example:8554${path}?expires=1&signature=x`;
const refusal = (ec: number) => ({ err: { ec, em: expect.any(String) as string }, ret: null, ext: null, ebd: null });

beforeAll(async () => {
  around = await startSurroundings();
  around.auth.bus.serve(Robots.method.getRobot, ({ tenant, robotId }) => {
    if (tenant !== 'demo' || robotId !== 'dog') throw new WeirError(ErrorCode.NOT_FOUND, 'no such robot');
    const cameras = ['front', 'back'].map((name) => ({ name, streamName: `dog/${name}` }));
    return { tenant, robotId, cameras, defaultCamera: 'front' };
  });
  service = await startService(around, {}, { logLines });
  token = await around.auth.token(mayPlay('*'));
  apiKey = around.auth.key(mayPlay('*'));
  for (const name of ['dog/front', 'dog/back', 'garden', 'a b/c', 'plain/cam']) {
    await around.media.publish(name, { video: H264 });
  }
});
afterAll(async () => {
  await service.stop();
  await around.stop();
});

describe('POST /stream/', () => {
  it("gives a robot's playlist, in the envelope of the original documents, as often as it is asked", async () => {
    const body = { id: 'dog', rtsp_url: rtspUrl('/demo/dog/front') };
    for (const attempt of [1, 2]) {
      const response = await post(withToken(token), body);
      expect({ attempt, status: response.status }).toEqual({ attempt, status: 200 });
      expect(await response.text()).toBe(
        `{"err":{"ec":0,"em":"ok"},"ret":{"hls_url":"${service.url}/videos/dog/index.m3u8"},"ext":null,"ebd":null}`,
      );
    }
    expect(around.media.tapsOf('dog/front')).toHaveLength(1);
  });

  it.each([
    ['another camera', { id: 'dog', rtsp_url: rtspUrl('/demo/dog/back') }, '/videos/dog/back/index.m3u8'],
    [
      'a camera of a robot nobody knows',
      { id: 'plain', rtsp_url: rtspUrl('/demo/plain/cam') },
      '/videos/plain/cam/index.m3u8',
    ],
    ['a stream', { stream: 'garden' }, '/videos/garden/index.m3u8'],
    ['a stream of another kind of name', { stream: 'a b/c' }, '/videos/~/a%20b%2Fc/index.m3u8'],
    ["a robot's stream by name", { stream: 'dog/back' }, '/videos/dog/back/index.m3u8'],
  ])('packages %s, and its playlist is then available', async (_name, body, path) => {
    const response = await post(withToken(token), body);
    const { ret } = (await response.json()) as { ret: { hls_url: string } };
    expect(ret.hls_url).toBe(service.url + path);
    expect(await withToken(token).text(path)).toContain('#EXT-X-STREAM-INF');
  });

  it('gives addresses under the host that the gateway was asked for, or the one of the setting', async () => {
    const forwarded = { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'video.example:8443' };
    const player = new Player(service.url, { authorization: `Bearer ${token}`, ...forwarded });
    const { ret } = (await (await post(player, { stream: 'garden' })).json()) as { ret: { hls_url: string } };
    expect(ret.hls_url).toBe('https://video.example:8443/videos/garden/index.m3u8');
    const other = await startService(around, { WEIR_PUBLIC_URL: 'https://weir.example/' });
    const told = await post(new Player(other.url, { authorization: `Bearer ${token}`, ...forwarded }), {
      stream: 'garden',
    });
    expect(await told.json()).toMatchObject({ ret: { hls_url: 'https://weir.example/videos/garden/index.m3u8' } });
    await other.stop();
  });

  it.each([
    ['nothing', {}, 400, 103],
    ['no rtsp_url', { id: 'dog' }, 400, 103],
    ['no id', { rtsp_url: rtspUrl('/demo/dog/front') }, 400, 103],
    ['another scheme', { id: 'dog', rtsp_url: 'http://169.254.169.254/demo/dog/front' }, 403, 107],
    ["another tenant's URL", { id: 'dog', rtsp_url: rtspUrl('/other/dog/front') }, 403, 107],
    ["another robot's URL", { id: 'dog', rtsp_url: rtspUrl('/demo/plain/cam') }, 403, 107],
    ['a stream that there is not', { stream: 'nowhere' }, 404, 404],
  ])('refuses %s', async (_name, body, status, ec) => {
    const response = await post(withToken(token), body);
    expect(response.status).toBe(status);
    expect(await response.json()).toEqual(refusal(ec));
  });

  it.each([[''], ['application/x-www-form-urlencoded'], ['text/plain'], ['no type']])(
    'takes JSON with the content type "%s"',
    async (type) => {
      const response = await withToken(token).get('/stream/', {
        method: 'POST',
        headers: { 'content-type': type },
        // fetch adds a content type to a string, but not to a typed array.
        body: new TextEncoder().encode(JSON.stringify({ stream: 'garden' })),
      });
      expect(await response.json()).toMatchObject({ err: { ec: 0 }, ret: { hls_url: expect.any(String) } });
    },
  );

  it.each([
    ['POST', '/videos/dog/index.m3u8', 'GET, HEAD'],
    ['PUT', '/stream/', 'GET, HEAD, POST'],
    ['POST', '/stream/dog', 'DELETE, GET, HEAD'],
  ])('does not take %s %s, and its answer does not repeat the token', async (method, path, allow) => {
    const response = await withToken(token).get(`${path}?token=${token}`, { method, body: '{}' });
    expect([response.status, response.headers.get('allow')]).toEqual([405, allow]);
    const text = await response.text();
    expect(JSON.parse(text)).toEqual(refusal(103));
    expect(text).not.toContain(token);
  });

  it('refuses a body that is not JSON', async () => {
    for (const [type, body] of [
      ['application/json', '{'],
      ['text/plain', 'id=dog'],
      ['application/x-www-form-urlencoded', 'id=dog&rtsp_url=rtsp://x/demo/dog'],
    ] as const) {
      const response = await withToken(token).get('/stream/', {
        method: 'POST',
        headers: { 'content-type': type },
        body,
      });
      expect(response.status).toBeGreaterThanOrEqual(400);
      expect(await response.json()).toEqual(refusal(103));
    }
  });
});

describe('the right to watch', () => {
  const path = '/videos/garden/index.m3u8';

  it('comes from a header, either spelling of the query or a cookie, and from an API key too', async () => {
    for (const [query, headers] of [
      ['', { authorization: `Bearer ${token}` }],
      [`?token=${token}`, {}],
      [`?tonken=${token}`, {}],
      ['', { cookie: `token=${token}` }],
      ['', { authorization: `Bearer ${apiKey}` }],
    ] as const) {
      expect((await new Player(service.url, headers).get(path + query)).status).toBe(200);
      const started = await post(new Player(service.url, headers), { stream: 'garden' }, query);
      expect(started.status).toBe(200);
    }
  });

  it.each([
    ['nobody', async () => undefined, 401, 104],
    ['a stranger', async () => 'x.y.z', 401, 104],
    ['somebody of another tenant', () => around.auth.token(mayPlay('*'), { tenant: 'other' }), 404, 404],
    ['somebody who may watch other streams', () => around.auth.token(mayPlay('dog/*')), 403, 107],
    ['somebody whose time is up', () => around.auth.token(mayPlay('*'), { life: '-1 min' }), 401, 104],
  ])('is not given to %s', async (_name, tokenOf, status, ec) => {
    const own = await tokenOf();
    const player = own === undefined ? new Player(service.url) : withToken(own);
    for (const file of ['index.m3u8', 'media.m3u8']) {
      const response = await player.get(`/videos/garden/${file}`);
      expect({ file, status: response.status }).toEqual({ file, status });
      expect(await response.json()).toEqual(refusal(ec));
      expect(response.headers.get('cache-control')).toBe('no-store');
    }
    expect((await post(player, { stream: 'garden' })).status).toBe(status);
    expect((await player.get('/stream/garden', { method: 'DELETE' })).status).toBe(status === 404 ? 200 : status);
    expect(service.packager.packagings.find('demo', 'garden')?.state).toBe('flowing');
  });

  it('opens segments by the tickets in the playlist, and by no changed or foreign ticket', async () => {
    const playlist = parsePlaylist(await withToken(token).text('/videos/garden/media.m3u8'));
    const stranger = new Player(service.url);
    const base = '/videos/garden/';
    for (const uri of [playlist.maps[0], playlist.segments.at(-1), playlist.parts.at(-1)]) {
      const response = await stranger.get(base + uri);
      expect(response.status).toBe(200);
      expect(response.headers.get('cache-control')).toMatch(/^public, max-age=\d+, immutable$/);
      const [name = '', ticket = ''] = uri?.split('?ticket=') ?? [];
      const tampered = ticket.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A'));
      for (const query of ['', '?ticket=', `?ticket=${tampered}`]) {
        expect((await stranger.get(base + name + query)).status).toBe(401);
      }
      expect((await stranger.get(`/videos/dog/${name}?ticket=${ticket}`)).status).toBe(401);
      const owner = await withToken(token).get(base + name);
      expect(owner.status).toBe(200);
      expect(owner.headers.get('cache-control')).toMatch(/^private, /);
    }
    const [first = '', second = ''] = playlist.segments;
    const stolen = `${first.split('?')[0]}?${second.split('?')[1]}`;
    expect((await stranger.get(base + stolen)).status).toBe(401);
  });

  it('keeps the addresses of segments the same for everybody and from playlist to playlist', async () => {
    const before = parsePlaylist(await withToken(token).text('/videos/garden/media.m3u8'));
    const after = parsePlaylist(await withToken(apiKey).text('/videos/garden/media.m3u8'));
    expect(after.segments).toEqual(expect.arrayContaining(before.segments.slice(1)));
  });

  it('puts the query of a player into its addresses, and nothing for a player that sends a header', async () => {
    const led = await new Player(service.url).text(`${path}?tonken=${token}`);
    const [, query = ''] = /\nmedia\.m3u8(\?token=.*)\n/.exec(led) ?? [];
    // The query has the token's pass instead of the token, because each address in a playlist carries it.
    expect(query).toMatch(/^\?token=weirp_[\w-]{32}$/);
    expect((await new Player(service.url).get(`/videos/garden/media.m3u8${query}`)).status).toBe(200);
    expect(await withToken(token).text(path)).toContain('\nmedia.m3u8\n');
  });

  it('comes with a signed address, for one stream and until a time', async () => {
    const sign = async (streamName: string, expiresAtMs = Date.now() + 60_000) => {
      const asked = { tenant: 'demo', streamNames: [streamName], expiresAtMs: BigInt(expiresAtMs) };
      return (await around.auth.bus.call(HlsAddresses.method.sign, asked)).addresses[0] ?? '';
    };
    const garden = await sign('garden');
    const base = garden.split('index.m3u8')[0] ?? '';
    const stranger = new Player(service.url);
    const [, media = ''] = /\n(media\.m3u8\?signature=.*)\n/.exec(await stranger.text(garden)) ?? [];
    const playlist = parsePlaylist(await stranger.text(base + media));
    expect((await stranger.get(base + playlist.segments.at(-1))).status).toBe(200);
    expect((await stranger.get(`${garden}?client_token=x`)).status).toBe(200);
    expect((await stranger.get(await sign('a b/c'))).status).toBe(200);
    const [, query = ''] = garden.split('?');
    for (const refused of [
      `${base}index.m3u8`,
      `${base}index.m3u8?signature=`,
      `/videos/garden/index.m3u8?${query}`,
      `/videos/~/a%20b%2Fc/index.m3u8?${query}`,
      await sign('garden', Date.now() - 1_000),
    ])
      expect([refused, (await stranger.get(refused)).status]).toEqual([refused, 401]);
    expect((await stranger.get(await sign('nowhere'))).status).toBe(404);
  });

  it('ends when the token is revoked', async () => {
    const { token: own, tokenId } = await around.auth.mint(mayPlay('*'));
    const player = withToken(own);
    expect((await player.get('/videos/garden/media.m3u8')).status).toBe(200);
    const redis = new Redis(around.redis.url);
    await redis.set(revocationKey(tokenId), '1', 'EX', 600);
    redis.disconnect();
    await waitFor(async () => (await player.get('/videos/garden/media.m3u8')).status === 401, { intervalMs: 50 });
  });

  it('goes on for viewers who were watching when Redis went away', async () => {
    const { token: own } = await around.auth.mint(mayPlay('*'));
    const player = withToken(own);
    expect((await player.get('/videos/garden/media.m3u8')).status).toBe(200);
    await around.redis.kill();
    for (let reload = 0; reload < 5; reload++) {
      await new Promise((resolve) => setTimeout(resolve, 500));
      expect((await player.get('/videos/garden/media.m3u8')).status).toBe(200);
    }
    await around.redis.restart();
  });

  it('is refused to new viewers while Redis is away, and no token is in any log', async () => {
    const { token: own } = await around.auth.mint(mayPlay('*'));
    await around.redis.kill();
    expect((await withToken(own).get(path)).status).toBe(503);
    await around.redis.restart();
    await waitFor(async () => (await withToken(own).get(path)).status === 200);
    await new Player(service.url).get(`/videos/nowhere/index.m3u8?token=${own}`);
    expect(logLines.length).toBeGreaterThan(0);
    expect(logLines.join('')).not.toContain(own.split('.')[2]);
    expect(logLines.join('')).not.toContain(token.split('.')[2]);
  });
});

describe('GET /stream/', () => {
  it('lists what is packaged, to those who may watch it', async () => {
    const all = (await (await withToken(token).get('/stream/')).json()) as { ret: { streams: { stream: string }[] } };
    expect(all.ret.streams.map(({ stream }) => stream).sort()).toEqual(
      ['a b/c', 'dog/back', 'dog/front', 'garden', 'plain/cam'].sort(),
    );
    const own = await around.auth.token(mayPlay('dog/*'));
    const some = (await (await withToken(own).get('/stream')).json()) as typeof all;
    expect(some.ret.streams.map(({ stream }) => stream).sort()).toEqual(['dog/back', 'dog/front']);
    expect((await new Player(service.url).get('/stream/')).status).toBe(401);
  });
});
