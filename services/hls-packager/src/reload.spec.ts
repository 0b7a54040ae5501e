import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { H264, OPUS } from './testing/fake-media.js';
import { parsePlaylist, Player, type MediaPlaylist } from './testing/player.js';
import { startService, startSurroundings, type Running, type Surroundings } from './testing/service.js';

let around: Surroundings;
let service: Running;
let player: Player;

beforeAll(async () => {
  around = await startSurroundings();
  service = await startService(around, { WEIR_HLS_BLOCK_TIMEOUT_MS: '2000' });
  player = new Player(service.url, { authorization: `Bearer ${await around.auth.token()}` });
  await around.media.publish('s', { video: H264, audio: OPUS });
});
afterAll(async () => {
  await service.stop();
  await around.stop();
});

const playlist = async (query = ''): Promise<MediaPlaylist> =>
  parsePlaylist(await player.text(`/videos/s/media.m3u8${query}`));
const numbersOf = (uri = '') => /-(\d+)(?:-(\d+))?\./.exec(uri)?.slice(1).map(Number) ?? [];

describe('a playlist that is asked for ahead of time', () => {
  it('comes when the part is there, and with the next one announced', async () => {
    let [msn = 0, part = 0] = numbersOf((await playlist()).hint);
    for (let round = 0; round < 12; round++) {
      const next = await playlist(`?_HLS_msn=${msn}&_HLS_part=${part}`);
      const [hintMsn = 0, hintPart = 0] = numbersOf(next.hint);
      const hasIt = next.parts.some((uri) => uri.startsWith(`part-${msn}-${part}.`));
      // After the last part of a segment, the next number means the first part of the next segment.
      expect(hasIt || hintMsn > msn).toBe(true);
      expect(hintMsn > msn || (hintMsn === msn && hintPart > part)).toBe(true);
      [msn, part] = [hintMsn, hintPart];
    }
  });

  it('comes when the segment is finished, if no part is named', async () => {
    const before = await playlist();
    const [open = 0] = numbersOf(before.hint);
    const next = await playlist(`?_HLS_msn=${open}`);
    expect(next.segments.map((uri) => numbersOf(uri)[0])).toContain(open);
  });

  it.each(['?_HLS_part=1', '?_HLS_msn=x', '?_HLS_msn=-1', '?_HLS_msn=1&_HLS_part=x', '?_HLS_msn=99999999999'])(
    'is refused when that makes no sense: %s',
    async (query) => {
      expect((await player.get(`/videos/s/media.m3u8${query}`)).status).toBe(400);
    },
  );

  it('leaves out what the player knows, if the player says so', async () => {
    const full = await playlist();
    const delta = await playlist('?_HLS_skip=YES');
    // The window is as long as the skip boundary, so there is only sometimes something to skip.
    expect(delta.text.includes('#EXT-X-SKIP') || delta.segments.length >= full.segments.length).toBe(true);
    expect(delta.text.length).toBeLessThanOrEqual(full.text.length + 600);
  });
});

describe('a part that is announced', () => {
  it('comes as soon as it is made, and the same bytes are in its segment', async () => {
    const { hint = '' } = await playlist();
    const part = await player.bytes(`/videos/s/${hint}`);
    const [msn = 0, index = 0] = numbersOf(hint);
    const finished = await playlist(`?_HLS_msn=${msn}`);
    const uri = finished.segments.find((segment) => numbersOf(segment)[0] === msn) ?? '';
    const segment = await player.bytes(`/videos/s/${uri}`);
    expect(segment.indexOf(part)).toBeGreaterThanOrEqual(0);
    const parts = await Promise.all(
      finished.parts.filter((other) => numbersOf(other)[0] === msn).map((other) => player.bytes(`/videos/s/${other}`)),
    );
    expect(Buffer.concat(parts).equals(segment)).toBe(true);
    expect(parts[index]?.equals(part)).toBe(true);
  });

  it('is refused when it is not the next one', async () => {
    const [msn = 0, index = 0] = numbersOf((await playlist()).hint);
    for (const name of [
      `part-${msn}-${index + 20}.m4s`,
      `part-${msn + 9}-0.m4s`,
      'part-1-0.m4s',
      'segment-1.m4s',
      'init-99.mp4',
    ]) {
      expect((await player.get(`/videos/s/${name}`)).status).toBe(404);
    }
  });
});

describe('the answers', () => {
  it('have the types and the caching of HLS', async () => {
    const list = await player.get('/videos/s/media.m3u8');
    expect(list.headers.get('content-type')).toBe('application/vnd.apple.mpegurl');
    expect(list.headers.get('cache-control')).toBe('private, no-cache');
    const { segments } = parsePlaylist(await list.text());
    const segment = await player.get(`/videos/s/${segments.at(-1)}`);
    expect(segment.headers.get('content-type')).toBe('video/mp4');
    expect(segment.headers.get('accept-ranges')).toBe('bytes');
    expect(segment.headers.get('cache-control')).toContain('immutable');
  });

  it('are described without their bodies to a HEAD request', async () => {
    const { segments } = await playlist();
    const uri = `/videos/s/${segments.at(-1)}`;
    const whole = await player.bytes(uri);
    const head = await player.get(uri, { method: 'HEAD' });
    expect(head.status).toBe(200);
    expect(head.headers.get('content-length')).toBe(String(whole.length));
    expect((await player.get('/videos/s/index.m3u8', { method: 'HEAD' })).status).toBe(200);
  });

  it('are sent in ranges', async () => {
    const { segments } = await playlist();
    const uri = `/videos/s/${segments.at(-1)}`;
    const whole = await player.bytes(uri);
    const part = await player.get(uri, { headers: { range: 'bytes=100-199' } });
    expect(part.status).toBe(206);
    expect(part.headers.get('content-range')).toBe(`bytes 100-199/${whole.length}`);
    expect(Buffer.from(await part.arrayBuffer()).equals(whole.subarray(100, 200))).toBe(true);
    const beyond = await player.get(uri, { headers: { range: `bytes=${whole.length}-` } });
    expect(beyond.status).toBe(416);
    expect(beyond.headers.get('content-range')).toBe(`bytes */${whole.length}`);
  });
});

describe('compression', () => {
  const encodingOf = async (path: string, accepted: string) =>
    (await player.get(path, { headers: { 'accept-encoding': accepted } })).headers.get('content-encoding');

  it('is for playlists, if the client accepts it, and never for media', async () => {
    const { text, parts } = await playlist();
    const compressed = await player.get('/videos/s/media.m3u8', { headers: { 'accept-encoding': 'gzip' } });
    expect(compressed.headers.get('content-encoding')).toBe('gzip');
    expect(compressed.headers.get('vary')).toContain('accept-encoding');
    expect(Number(compressed.headers.get('content-length'))).toBeLessThan(text.length / 2);
    expect(await compressed.text()).toMatch(/^#EXTM3U\n/);
    expect(await encodingOf('/videos/s/index.m3u8', 'br, gzip')).toBe('gzip');
    expect(await encodingOf('/videos/s/media.m3u8', 'identity')).toBeNull();
    expect(await encodingOf(`/videos/s/${parts[0] ?? ''}`, 'gzip')).toBeNull();
  });
});
