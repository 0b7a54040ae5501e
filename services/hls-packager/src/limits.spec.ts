import { waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { H264 } from './testing/fake-media.js';
import { parsePlaylist, Player } from './testing/player.js';
import { startService, startSurroundings, type Running, type Surroundings } from './testing/service.js';

let around: Surroundings;
let service: Running;
let headers: Record<string, string>;

beforeAll(async () => {
  around = await startSurroundings();
  headers = { authorization: `Bearer ${await around.auth.token()}` };
  for (const name of ['a', 'b', 'c']) await around.media.publish(name, { video: H264 });
});
afterAll(() => around.stop());
afterEach(() => service.stop());

const start = async (env: Record<string, string>): Promise<Player> => {
  service = await startService(around, env);
  return new Player(service.url, headers);
};
const settled = async (responses: Promise<Response>[]) =>
  (await Promise.all(responses)).map(({ status }) => status).sort((a, b) => a - b);

describe('a stream whose last key frame is longer ago than can be kept', () => {
  it('is refused to new viewers with the reason, and goes on for those who watch', { timeout: 60_000 }, async () => {
    const coding = [...H264, '-g', '100000', '-b:v', '3M', '-minrate', '3M', '-maxrate', '3M', '-bufsize', '3M'];
    const padded = [...coding, '-x264-params', 'nal-hrd=cbr:force-cfr=1'];
    await around.media.publish('rare', { video: padded });
    const bounds = { WEIR_HLS_MAX_SEGMENT_MS: '1000', WEIR_HLS_WINDOW_MS: '3000' };
    const player = await start({ ...bounds, WEIR_HLS_STREAM_MAX_BYTES: String(1024 * 1024) });
    expect(await player.text('/videos/rare/index.m3u8')).toContain('media.m3u8');
    const refused = await waitFor(
      async () => {
        await player.text('/videos/rare/media.m3u8');
        const index = await player.get('/videos/rare/index.m3u8');
        return index.status === 200 ? undefined : index;
      },
      { timeoutMs: 40_000, intervalMs: 200, what: 'the key frame to be too long ago' },
    );
    expect(refused.status).toBe(503);
    expect(await refused.text()).toContain('The last key frame of this stream is too long ago');
    expect((await player.get('/videos/rare/media.m3u8')).status).toBe(200);
  });
});

describe('requests that wait', () => {
  it('are limited for each address', async () => {
    const player = await start({ WEIR_HLS_MAX_WAITING_PER_ADDRESS: '3' });
    await player.text('/videos/a/media.m3u8');
    const [msn] = /segment-(\d+)/
      .exec(await player.text('/videos/a/media.m3u8'))
      ?.slice(1)
      .map(Number) ?? [0];
    const flood = Array.from({ length: 8 }, () => player.get(`/videos/a/media.m3u8?_HLS_msn=${(msn ?? 0) + 1}`));
    const statuses = await settled(flood);
    expect(statuses.filter((status) => status === 429).length).toBeGreaterThanOrEqual(4);
    const refused = (await Promise.all(flood)).find(({ status }) => status === 429);
    expect(refused?.headers.get('retry-after')).toBe('1');
    expect((await player.get('/videos/a/media.m3u8')).status).toBe(200);
  });

  it('are limited for each stream', async () => {
    const player = await start({ WEIR_HLS_MAX_WAITING_PER_STREAM: '3' });
    const text = await player.text('/videos/a/media.m3u8');
    const hint = parsePlaylist(text).hint ?? '';
    const [msn = 0] = /part-(\d+)/.exec(hint)?.slice(1).map(Number) ?? [];
    const statuses = await settled(
      Array.from({ length: 8 }, () => player.get(`/videos/a/media.m3u8?_HLS_msn=${msn + 1}`)),
    );
    expect(statuses.filter((status) => status === 503).length).toBeGreaterThanOrEqual(4);
  });

  it('give their places back when their clients leave', async () => {
    const player = await start({ WEIR_HLS_MAX_WAITING_PER_ADDRESS: '2', WEIR_HLS_START_TIMEOUT_MS: '20000' });
    await around.media.publish('mute', { video: ['-c:v', 'libx264', '-f', 'null'] });
    for (let round = 0; round < 5; round++) {
      const leaving = new AbortController();
      const request = player.get('/videos/mute/index.m3u8', { signal: leaving.signal }).catch(() => 'left');
      await waitFor(() => service.packager.packagings.load.waiting === 1);
      leaving.abort();
      expect(await request).toBe('left');
      await waitFor(() => service.packager.packagings.load.waiting === 0);
    }
  });
});

describe('what is kept', () => {
  it('is the window, and a little more for players that are late', async () => {
    const player = await start({ WEIR_HLS_WINDOW_MS: '3000', WEIR_HLS_MAX_SEGMENT_MS: '1000' });
    const first = parsePlaylist(await player.text('/videos/a/media.m3u8'));
    const later = await waitFor(
      async () => {
        const now = parsePlaylist(await player.text('/videos/a/media.m3u8'));
        return now.mediaSequence >= first.mediaSequence + 5 && now;
      },
      { timeoutMs: 20_000, intervalMs: 200 },
    );
    expect(later.segments.length).toBeLessThanOrEqual(6);
    expect((await player.get(`/videos/a/${first.segments[0]}`)).status).toBe(404);
    expect((await player.get(`/videos/a/${later.segments[0]}`)).status).toBe(200);
  });

  it('is limited for all streams together: what nobody asks for goes first', async () => {
    // This limit holds about five seconds of one stream.
    const player = await start({ WEIR_HLS_TOTAL_MAX_BYTES: String(1024 * 1024) });
    const large = ['-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-g', '15', '-qp', '8'];
    await around.media.publish('large', { video: large });
    await player.text('/videos/a/index.m3u8');
    await player.text('/videos/large/index.m3u8');
    await waitFor(
      async () => {
        await player.get('/videos/large/media.m3u8');
        return service.packager.packagings.find('demo', 'a') === undefined;
      },
      { timeoutMs: 20_000, intervalMs: 200 },
    );
    expect(service.packager.packagings.load.bytes).toBeLessThanOrEqual(2 * 1024 * 1024);
  });

  it('is limited to a number of streams', async () => {
    const player = await start({ WEIR_HLS_MAX_STREAMS: '2' });
    const statuses = [];
    for (const name of ['a', 'b', 'c']) statuses.push((await player.get(`/videos/${name}/index.m3u8`)).status);
    expect(statuses).toEqual([200, 200, 503]);
    expect((await player.get('/stream/a', { method: 'DELETE' })).status).toBe(200);
    expect((await player.get('/videos/c/index.m3u8')).status).toBe(200);
    expect(around.media.tapsOf('a')).toHaveLength(0);
  });
});

describe('paths', () => {
  it.each([
    ['/videos/%2e%2e/index.m3u8', 404],
    ['/videos/a%2Fb/index.m3u8', 404],
    ['/videos/%E0%A4%A/index.m3u8', 400],
    [`/videos/${'x'.repeat(300)}/index.m3u8`, 404],
    [`/videos/~/${'x'.repeat(3_000)}/index.m3u8`, 404],
    ['/videos/~/..%2F..%2Fetc%2Fpasswd/index.m3u8', 404],
    ['/videos/a/..%2f..%2f..%2fetc%2fpasswd', 404],
    ['/videos/', 404],
    ['/stream/~', 404],
    ['/other', 404],
  ])('that lead nowhere say so: %s', async (path, status) => {
    await start({});
    // The test doesn't use fetch, because fetch normalises the path.
    const { request } = await import('node:http');
    const answered = await new Promise<{ status: number; body: string }>((resolve, reject) => {
      const client = request({ port: service.port, host: '127.0.0.1', path, headers }, (response) => {
        let body = '';
        response.on('data', (chunk: Buffer) => (body += chunk.toString()));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
      });
      client.on('error', reject);
      client.end();
    });
    expect(answered.status).toBe(status);
    expect(() => JSON.parse(answered.body) as unknown).not.toThrow();
  });
});
