import { waitFor } from '@weir/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { AAC, H264, OPUS, VP8 } from './testing/fake-media.js';
import { parsePlaylist, Player, probe, type MediaPlaylist } from './testing/player.js';
import { startService, startSurroundings, type Running, type Surroundings } from './testing/service.js';

let around: Surroundings;
let service: Running;
let player: Player;
let headers: Record<string, string>;

const env = {
  WEIR_HLS_IDLE_MS: '6000',
  WEIR_HLS_SOURCE_GRACE_MS: '8000',
  WEIR_HLS_LINGER_MS: '3000',
  WEIR_HLS_BLOCK_TIMEOUT_MS: '1000',
};
let streams = 0;
let name: string;

beforeAll(async () => {
  around = await startSurroundings();
  service = await startService(around, env);
  headers = { authorization: `Bearer ${await around.auth.token()}` };
  player = new Player(service.url, headers);
});
afterAll(async () => {
  await service.stop();
  await around.stop();
});
beforeEach(async () => {
  name = `s${++streams}`;
  await around.media.publish(name, { video: H264 });
});

const media = async (): Promise<MediaPlaylist> => parsePlaylist(await player.text(`/videos/${name}/media.m3u8`));
const packaging = () => service.packager.packagings.find('demo', name);
const isIn = (playlist: MediaPlaylist, other: MediaPlaylist) =>
  playlist.segments.some((uri) => other.segments.includes(uri));

describe('packaging', { timeout: 60_000 }, () => {
  it('begins with the first request and ends some time after the last, with its tap', async () => {
    await media();
    expect(around.media.tapsOf(name)).toHaveLength(1);
    await waitFor(() => packaging() === undefined, { timeoutMs: 20_000 });
    await waitFor(() => around.media.tapsOf(name).length === 0);
  });

  it('is shared by all who come at the same time', async () => {
    const all = await Promise.all(Array.from({ length: 10 }, () => media()));
    expect(new Set(all.map(({ mediaSequence }) => mediaSequence)).size).toBe(1);
    expect(around.media.tapsOf(name)).toHaveLength(1);
  });

  it('of a stream that does not exist is refused, and nothing of it stays', async () => {
    const response = await player.get('/videos/nowhere/index.m3u8');
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchObject({ err: { ec: 404 } });
    expect(service.packager.packagings.find('demo', 'nowhere')).toBeUndefined();
  });

  it('is ended by DELETE: the playlist ends, and begins anew for whoever asks afterwards', async () => {
    const before = await media();
    const deleted = await player.get(`/stream/${name}`, { method: 'DELETE' });
    expect(await deleted.json()).toEqual({ err: { ec: 0, em: 'ok' }, ret: { stopped: true }, ext: null, ebd: null });
    const after = await media();
    expect(after.hasEnded).toBe(true);
    expect(isIn(after, before)).toBe(true);
    expect(await player.bytes(`/videos/${name}/${after.segments.at(-1)}`)).toBeInstanceOf(Buffer);
    const again = await player.get(`/stream/${name}`, { method: 'DELETE' });
    expect(await again.json()).toMatchObject({ ret: { stopped: false } });
    await player.text(`/videos/${name}/index.m3u8`);
    const anew = await media();
    expect(anew.hasEnded).toBe(false);
    expect(anew.mediaSequence).toBeGreaterThan(after.mediaSequence);
    expect(isIn(anew, after)).toBe(false);
  });
});

describe('a source that is lost', { timeout: 60_000 }, () => {
  it('and returns continues its playlist after a discontinuity, even with another size and sound', async () => {
    const before = await media();
    around.media.unpublish(name);
    await waitFor(() => packaging()?.state === 'away');
    expect((await media()).hasEnded).toBe(false);
    await around.media.publish(name, { video: H264, audio: AAC }, { size: '480x272' });
    const after = await waitFor(async () => {
      const now = await media();
      return now.maps.length > before.maps.length && now.segments.length > before.segments.length && now;
    });
    expect(after.discontinuities).toBe(before.discontinuities + 1);
    expect(isIn(after, before)).toBe(true);
    expect(new Set(after.maps).size).toBe(2);
    expect(await player.text(`/videos/${name}/index.m3u8`)).toContain('mp4a.40.2",RESOLUTION=480x272');
    const found = await probe(
      `${service.url}/videos/${name}/media.m3u8`,
      2,
      `Authorization: ${headers['authorization']}`,
    );
    expect(found.codecs[0]).toBe('h264');
  });

  it('and stays away ends the playlist, which is forgotten some time later', async () => {
    await media();
    around.media.unpublish(name);
    const ended = await waitFor(
      async () => {
        const now = await media();
        return now.hasEnded && now;
      },
      { timeoutMs: 20_000 },
    );
    expect(ended.segments.length).toBeGreaterThan(0);
    expect(ended.hint).toBeUndefined();
    expect((await player.get(`/videos/${name}/index.m3u8`)).status).toBe(404);
    await waitFor(() => packaging() === undefined);
    expect((await player.get(`/videos/${name}/media.m3u8`)).status).toBe(404);
  });

  it('leaves a last part, which is not announced right after the one before', async () => {
    await media();
    const shown = () => packaging()?.live.playlist(false) ?? '';
    const before = shown();
    await waitFor(() => shown() !== before, { intervalMs: 5 });
    const atItsEnd = parsePlaylist(shown());
    around.media.unpublish(name);
    packaging()?.lost();
    expect(parsePlaylist(shown()).parts).toEqual(atItsEnd.parts);
    await waitFor(() => parsePlaylist(shown()).segments.length > atItsEnd.segments.length);
    expect(parsePlaylist(shown()).parts.slice(0, -1)).toEqual(atItsEnd.parts);
  });

  it('with its node, without an event, is noticed by the silence of the node', async () => {
    const before = await media();
    around.media.die();
    await waitFor(async () => (await media()) && packaging()?.state === 'away', { timeoutMs: 15_000 });
    around.media.live();
    await around.media.publish(name, { video: H264 });
    await waitFor(async () => (await media()).discontinuities === before.discontinuities + 1);
    expect(packaging()?.state).toBe('flowing');
  });

  it('only at its tap is tapped again', async () => {
    await media();
    const [tap] = around.media.tapsOf(name);
    around.media.loseTap(tap?.request.sessionId ?? '');
    await waitFor(
      async () => {
        const taps = around.media.tapsOf(name);
        return (await media()) && taps.length === 1 && taps[0] !== tap && packaging()?.state === 'flowing';
      },
      { timeoutMs: 20_000 },
    );
  });
});

describe('a service that was killed', () => {
  it('goes on at higher numbers, for the same addresses', async () => {
    const first = await startService(around, env);
    const own = new Player(first.url, headers);
    const before = parsePlaylist(await own.text(`/videos/${name}/media.m3u8`));
    await first.die();
    const second = await startService(around, env, { port: first.port });
    const after = parsePlaylist(await own.text(`/videos/${name}/media.m3u8`));
    expect(after.mediaSequence).toBeGreaterThan(before.mediaSequence + before.segments.length);
    expect(after.discontinuitySequence).toBe(before.discontinuitySequence);
    expect(after.maps).not.toEqual(before.maps);
    // The segments of the old instance are gone, and no ticket opens them.
    expect((await own.get(`/videos/${name}/${before.segments[0]}`)).status).toBe(404);
    await second.stop();
  });
});

describe('a stream that has to be transcoded', () => {
  it('has an ffmpeg as long as it is packaged', async () => {
    await around.media.publish('vp8', { video: VP8, audio: OPUS });
    await player.text('/videos/vp8/index.m3u8');
    const load = () => service.packager.load.transcodes;
    expect(load()).toBe(1);
    const { ret } = (await (await player.get('/stream/vp8')).json()) as { ret: { transcoding: boolean } };
    expect(ret.transcoding).toBe(true);
    await player.get('/stream/vp8', { method: 'DELETE' });
    await waitFor(() => load() === 0);
  });

  it('is refused when there are too many of them', async () => {
    await around.media.publish('vp8', { video: VP8 });
    const none = await startService(around, { WEIR_HLS_MAX_TRANSCODES: '0' });
    const response = await new Player(none.url, headers).get('/videos/vp8/index.m3u8');
    expect(response.status).toBe(503);
    await none.stop();
  });
});
