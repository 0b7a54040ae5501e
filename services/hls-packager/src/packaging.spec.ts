import { waitFor } from '@weir/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AAC, G722, H264, H265, JPEG, OPUS, PCMU, VP8, type Coding } from './testing/fake-media.js';
import { Player, parsePlaylist, probe } from './testing/player.js';
import { startService, startSurroundings, type Running, type Surroundings } from './testing/service.js';

let around: Surroundings;
let service: Running;
let player: Player;
let token: string;

beforeAll(async () => {
  around = await startSurroundings();
  service = await startService(around);
  token = await around.auth.token();
  player = new Player(service.url, { authorization: `Bearer ${token}` });
});
afterAll(async () => {
  await service.stop();
  await around.stop();
});

const KINDS: [string, Coding, string, string[], boolean][] = [
  ['H.264 and Opus', { video: H264, audio: OPUS }, 'avc1.42c00d,opus', ['h264', 'opus'], false],
  ['H.264 and AAC', { video: H264, audio: AAC }, 'avc1.42c00d,mp4a.40.2', ['h264', 'aac'], false],
  ['H.265 alone', { video: H265 }, 'hvc1.1.6.L60.90', ['hevc'], false],
  ['sound alone', { audio: OPUS }, 'opus', ['opus'], false],
  ['VP8 and Opus', { video: VP8, audio: OPUS }, 'avc1.', ['h264', 'opus'], true],
  ['Motion JPEG and G.722', { video: JPEG, audio: G722 }, 'mp4a.40.2', ['h264', 'aac'], true],
  ['H.264 and G.711', { video: H264, audio: PCMU }, 'mp4a.40.2', ['h264', 'aac'], true],
];

describe('a stream of', () => {
  it.each(KINDS)('%s plays in ffmpeg', async (name, coding, codecs, decoded, transcodes) => {
    const stream = name.replaceAll(/\W+/g, '-');
    await around.media.publish(stream, coding);
    const url = `${service.url}/videos/${stream}/index.m3u8`;
    expect(await player.text(url)).toContain(codecs);
    const found = await probe(`${url}?token=${token}`);
    expect(found.codecs).toEqual(decoded);
    expect(found.pictures).toBeGreaterThan(20);
    const { ret } = (await (await player.get(`/stream/${stream}`)).json()) as { ret: Record<string, unknown> };
    expect(ret).toMatchObject({ stream, state: 'flowing', transcoding: transcodes });
    expect((await player.get(`/stream/${stream}`, { method: 'DELETE' })).status).toBe(200);
    await waitFor(() => around.media.tapsOf(stream).length === 0);
  });
});

describe('a playlist', () => {
  it('contains date and time, parts, what comes next and how to ask for it', async () => {
    await around.media.publish('tags', { video: H264 });
    const index = await player.text('/videos/tags/index.m3u8');
    expect(index).toMatch(/#EXT-X-STREAM-INF:BANDWIDTH=\d+.*RESOLUTION=320x240,FRAME-RATE=30.000\nmedia\.m3u8\n/);
    const playlist = parsePlaylist(await player.text('/videos/tags/media.m3u8'));
    expect(playlist.text).toMatch(
      /#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=24,HOLD-BACK=12,PART-HOLD-BACK=0\.\d+\n/,
    );
    const date = /#EXT-X-PROGRAM-DATE-TIME:(.*)/.exec(playlist.text)?.[1] ?? '';
    expect(Math.abs(Date.now() - Date.parse(date))).toBeLessThan(10_000);
    expect(playlist.hint).toMatch(/^part-\d+-\d+\.m4s\?ticket=/);
  });
});
