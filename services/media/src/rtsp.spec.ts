import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { NameReservations } from '@weir/access';
import { EndReason } from '@weir/contracts';
import { startRedis, waitFor, type TestServer } from '@weir/testing';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  credentialOf,
  H264_AAC,
  H264_B_FRAMES,
  H264_OPUS,
  H265_PCMU,
  PLAYER,
  PLAYER_TOKEN,
  PUBLISHER_OF_ALL_TOKEN,
  PUBLISHER_TOKENS,
  RtspNode,
} from '../testing/rtsp-node.js';
import { StreamRegistry } from './registry.js';

const hasGStreamer = spawnSync('gst-launch-1.0', ['--version']).status === 0;
if (!hasGStreamer) console.warn('GStreamer is not installed: the tests with it are SKIPPED');

let redisServer: TestServer;
let redis: Redis;
let node: RtspNode;

beforeAll(async () => {
  redisServer = await startRedis();
  redis = new Redis(redisServer.url);
});
beforeEach(async () => {
  node = await RtspNode.start(redis);
});
afterEach(() => node.close());
afterAll(async () => {
  redis.disconnect();
  await redisServer.stop();
});

const flowing = (sessionId: string) =>
  waitFor(() => node.recorded.has(sessionId, 'connected'), { timeoutMs: 15_000, what: `media of ${sessionId}` });

const ended = (sessionId: string) => node.recorded.find(sessionId, 'ended');

interface Probed {
  streams: { codec_name: string; codec_type: string; width?: number; height?: number; nb_read_frames?: string }[];
}

/** Plays for two seconds and decodes everything. */
async function probe(url: string, transport: 'tcp' | 'udp' = 'tcp'): Promise<Probed & { errors: string }> {
  const child = node.run('ffprobe', [
    ...['-hide_banner', '-loglevel', 'error', '-rtsp_transport', transport, '-read_intervals', '%+2'],
    ...['-count_frames', '-show_streams', '-of', 'json', url],
  ]);
  let output = '';
  let errors = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  child.stderr?.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  await once(child, 'close');
  return { streams: [], ...(JSON.parse(output || '{}') as Partial<Probed>), errors };
}

const framesOf = (probed: Probed, kind: string) =>
  Number(probed.streams.find(({ codec_type }) => codec_type === kind)?.nb_read_frames ?? 0);

/** A signed URL with its signature as a user's password. */
function withPassword(url: string, password?: string): string {
  const [, address = '', rest = '', signature = ''] = /^rtsp:\/\/([^/]*)(.*)&signature=(.*)$/.exec(url) ?? [];
  return `rtsp://bot:${password ?? signature}@${address}${rest}`;
}

const ffmpegDecodes = async (url: string) => framesOf(await probe(url), 'video') > 20;

/** A pipeline that prints each decoded picture and ends by itself after this many. */
async function gstreamerDecodes(url: string): Promise<boolean> {
  const sink = '! rtph264depay ! avdec_h264 ! identity eos-after=21 silent=false ! fakesink'.split(' ');
  const player = node.run('gst-launch-1.0', ['-v', 'rtspsrc', `location=${url}`, 'protocols=tcp', ...sink]);
  let output = '';
  player.stdout?.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  await once(player, 'close');
  return (output.match(/last-message = chain/g)?.length ?? 0) >= 20;
}

/** The schemes of the 401 that a client without credentials gets. */
async function schemesAsked(url: string): Promise<string[]> {
  const socket = connect(node.server.port, '127.0.0.1');
  socket.write(`DESCRIBE ${url} RTSP/1.0\r\nCSeq: 1\r\n\r\n`);
  const [answer] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  expect(answer.toString()).toMatch(/^RTSP\/1.0 401 /);
  return [...answer.toString().matchAll(/^WWW-Authenticate: (\w+)/gm)].map(([, scheme = '']) => scheme);
}

describe('what was opened with a credential', () => {
  const key = { kind: 'key', keyId: 'abcdefghijkl' } as const;

  it.each([
    ['a token', () => node.playUrl('cam'), PLAYER],
    ['a URL signed for a token', () => node.signedPlayUrl('cam', PLAYER), PLAYER],
    ['a URL signed for a key', () => node.signedPlayUrl('cam', key), key],
  ] as const)('by %s plays until the credential ends, and then not again', async (_what, urlOf, credential) => {
    node.push(await node.awaitPush('cam', 's1'), H264_AAC);
    await flowing('s1');
    const url = urlOf();
    expect(framesOf(await probe(url), 'video')).toBeGreaterThan(20);
    await waitFor(() => node.credentials.watchedCount === 0);
    const player = node.run('ffmpeg', ['-loglevel', 'error', '-i', url, '-f', 'null', '-']);
    await waitFor(() => node.credentials.watchedCount === 1, { timeoutMs: 15_000 });
    const left = once(player, 'close');
    node.credentials.end(credential);
    await left;
    if (url.includes('signature=')) expect((await probe(url)).errors).toMatch(/403|Forbidden/);
    expect(node.recorded.has('s1', 'ended')).toBe(false);
  });
});

describe('RTSP', () => {
  it.each(['tcp', 'udp'] as const)('takes a push by %s and plays it by either transport', async (transport) => {
    node.push(await node.awaitPush('robot/front', 's1'), H264_AAC, transport);
    await flowing('s1');
    const registry = new StreamRegistry(redis, 'host:1');
    await waitFor(async () => ((await registry.find('demo', 'robot/front'))?.tracks.length ?? 0) === 2);
    expect(await registry.find('demo', 'robot/front')).toMatchObject({
      codecs: { audio: 'MPEG4-GENERIC', video: 'H264' },
    });
    for (const way of ['tcp', 'udp'] as const) {
      const probed = await probe(node.playUrl('robot/front'), way);
      expect(probed.streams.map(({ codec_name }) => codec_name).sort()).toEqual(['aac', 'h264']);
      expect(framesOf(probed, 'video')).toBeGreaterThan(20);
      expect(framesOf(probed, 'audio')).toBeGreaterThan(20);
      expect(probed.streams.find(({ codec_type }) => codec_type === 'video')).toMatchObject({
        width: 320,
        height: 240,
      });
    }
  });

  it.each([
    ['H.264 and Opus', H264_OPUS, ['h264', 'opus']],
    ['H.264 with B-frames', H264_B_FRAMES, ['h264', 'opus']],
    ['H.265 and PCMU', H265_PCMU, ['hevc', 'pcm_mulaw']],
  ])('passes on %s unchanged', async (_name, options, codecs) => {
    node.push(await node.awaitPush('cam', 's1'), options);
    await flowing('s1');
    const probed = await probe(node.playUrl('cam'));
    expect(probed.streams.map(({ codec_name }) => codec_name).sort()).toEqual(codecs);
    expect(framesOf(probed, 'video')).toBeGreaterThan(20);
  });

  it('knows the size and the frame rate of H.265 as ffmpeg pushes it', async () => {
    node.push(await node.awaitPush('cam', 's1'), H265_PCMU);
    await flowing('s1');
    const stream = node.recorded.core.findLocal('demo', 'cam');
    await waitFor(() => stream?.info.width === 320 && stream.info.height === 240, { what: 'a size' });
    await waitFor(() => (stream?.videoFps ?? 0) > 5, { timeoutMs: 15_000, what: 'a frame rate' });
    expect(stream?.videoMeter?.keyFrames).toBeGreaterThan(0);
  });

  it('refuses a push without signature, with another path, and one that comes too late', async () => {
    const url = await node.awaitPush('cam', 's1', 1_000);
    const unsigned = node.push(url.replace(/\?.*/, ''));
    expect((await once(unsigned, 'close'))[0]).not.toBe(0);
    await node.awaitPush('other', 's2', 60_000);
    const elsewhere = node.push(url.replace('/demo/cam', '/demo/other'));
    expect((await once(elsewhere, 'close'))[0]).not.toBe(0);
    await waitFor(() => ended('s1') !== undefined);
    expect(ended('s1')?.reason).toBe(EndReason.SOURCE_TIMEOUT);
    const late = node.push(url);
    expect((await once(late, 'close'))[0]).not.toBe(0);
  });

  it('lets nobody play who has neither signature nor grant', async () => {
    node.push(await node.awaitPush('cam', 's1'));
    await flowing('s1');
    const base = `127.0.0.1:${node.server.port}`;
    expect((await probe(`rtsp://${base}/demo/cam`)).streams).toEqual([]);
    expect((await probe(`rtsp://user:wrong@${base}/demo/cam`)).streams).toEqual([]);
    expect((await probe(`rtsp://user:${PLAYER_TOKEN}@${base}/other/cam`)).streams).toEqual([]);
    expect((await probe(`rtsp://${base}/demo/cam?token=${PLAYER_TOKEN}`)).streams).toHaveLength(2);
    expect((await probe(node.signedPlayUrl('cam', undefined, 60_000))).streams).toHaveLength(2);
  });

  it.each([
    { player: 'ffmpeg', plays: ffmpegDecodes },
    ...(hasGStreamer ? [{ player: 'GStreamer', plays: gstreamerDecodes }] : []),
  ])('takes a signature as the password of a Digest, from a pusher and from $player that plays', async ({ plays }) => {
    const pushUrl = await node.awaitPush('cam', 's1');
    const wrong = node.push(withPassword(pushUrl, 'guessed'));
    expect((await once(wrong, 'close'))[0]).not.toBe(0);
    node.push(withPassword(pushUrl));
    await flowing('s1');
    const playUrl = node.signedPlayUrl('cam', undefined, 60_000);
    expect(await plays(withPassword(playUrl))).toBe(true);
    expect((await probe(withPassword(playUrl, 'guessed'))).streams).toEqual([]);
    expect((await probe(withPassword(playUrl.replace('/demo/cam', '/demo/other')))).streams).toEqual([]);
    expect((await probe(withPassword(node.signedPlayUrl('cam', undefined, -1_000)))).streams).toEqual([]);
  });

  it('asks for a Digest where it knows the secret, and for a token where it does not', async () => {
    node.push(await node.awaitPush('cam', 's1'));
    await flowing('s1');
    const signed = node.signedPlayUrl('cam', undefined, 60_000);
    expect(await schemesAsked(signed.replace(/&signature=.*/, ''))).toEqual(['Digest', 'Digest']);
    expect(await schemesAsked(signed.replace(/\?.*/, ''))).toEqual(['Basic']);
  });

  it('counts its players as viewers', async () => {
    node.push(await node.awaitPush('cam', 's1'));
    await flowing('s1');
    const stream = node.recorded.core.findLocal('demo', 'cam');
    const playing = probe(node.playUrl('cam'));
    await waitFor(() => stream?.info.viewers === 1);
    await playing;
    await waitFor(() => stream?.info.viewers === 0);
  });

  it('ends the stream a moment after its pusher has died, and the name is free', async () => {
    const camera = node.push(await node.awaitPush('cam', 's1'));
    await flowing('s1');
    camera.kill('SIGKILL');
    await waitFor(() => ended('s1') !== undefined);
    expect(ended('s1')?.reason).toBe(EndReason.SOURCE_FAILED);
    await node.awaitPush('cam', 's2');
  });

  it('goes on with the stream of a pusher that comes back in time', async () => {
    const url = await node.awaitPush('cam', 's1');
    const first = node.push(url);
    await flowing('s1');
    first.kill('SIGKILL');
    await once(first, 'close');
    node.push(url);
    const stream = node.recorded.core.findLocal('demo', 'cam');
    await waitFor(() => stream?.source.broken === false);
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    expect(ended('s1')).toBeUndefined();
    expect(framesOf(await probe(node.playUrl('cam')), 'video')).toBeGreaterThan(20);
  });

  it('lets a pusher come back with its URL as long as its session lives, and with no other session', async () => {
    const url = await node.awaitPush('cam', 's1', 2_000);
    const first = node.push(url);
    await flowing('s1');
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    first.kill('SIGKILL');
    await once(first, 'close');
    const again = node.push(url);
    const stream = node.recorded.core.findLocal('demo', 'cam');
    await waitFor(() => stream?.source.broken === false);
    again.kill('SIGKILL');
    await waitFor(() => ended('s1') !== undefined);
    await node.awaitPush('cam', 's2', 60_000);
    const stale = node.push(url);
    expect((await once(stale, 'close'))[0]).not.toBe(0);
    expect(node.recorded.has('s2', 'connected')).toBe(false);
  });

  it('lets the holder of the URL take over at once from a pusher whose link has died without a FIN', async () => {
    const url = await node.awaitPush('cam', 's1');
    const silent = node.push(url);
    await flowing('s1');
    const stream = node.recorded.core.findLocal('demo', 'cam');
    silent.kill('SIGSTOP');
    await waitFor(() => stream?.videoFps === 0, { what: 'silence' });
    const successor = node.push(url);
    await waitFor(() => (stream?.videoFps ?? 0) > 10, { timeoutMs: 15_000 });
    expect(successor.exitCode).toBeNull();
    expect(ended('s1')).toBeUndefined();
    expect(node.recorded.core.findLocal('demo', 'cam')).toBe(stream);
    // The replaced pusher's connection is closed, and the pusher does no harm.
    silent.kill('SIGCONT');
    expect((await once(silent, 'close'))[0]).not.toBe(0);
    expect(framesOf(await probe(node.playUrl('cam')), 'video')).toBeGreaterThan(20);
    expect(ended('s1')).toBeUndefined();
  });

  it('ends a stream whose pusher comes back with other media', async () => {
    const url = await node.awaitPush('cam', 's1');
    const first = node.push(url);
    await flowing('s1');
    first.kill('SIGKILL');
    await once(first, 'close');
    node.push(url, H265_PCMU);
    await waitFor(() => ended('s1') !== undefined);
    expect(ended('s1')).toMatchObject({ reason: EndReason.SOURCE_FAILED });
  });

  describe('what a publisher with a credential pushes', () => {
    const stream = () => node.recorded.core.findLocal('demo', 'studio/1');
    const published = () =>
      waitFor(() => (stream()?.info.ready === true ? stream() : undefined), { timeoutMs: 15_000 });
    const isRefused = async (url: string) => (await once(node.push(url), 'close'))[0] !== 0;

    it.each(['tcp', 'udp'] as const)('is a stream under any name that it may publish, by %s', async (transport) => {
      const pusher = node.push(node.publishUrl('studio/1'), H264_AAC, transport);
      await published();
      expect(framesOf(await probe(node.playUrl('studio/1')), 'video')).toBeGreaterThan(20);
      // ffmpeg sends TEARDOWN when it is asked to end.
      pusher.kill('SIGTERM');
      await waitFor(() => stream() === undefined);
      expect(node.recorded.told.at(-1)).toMatchObject({ what: 'ended', reason: EndReason.CLIENT });
      node.push(node.publishUrl('studio/1', PUBLISHER_TOKENS[1]));
      await published();
    });

    it.runIf(hasGStreamer)('is accepted from GStreamer too', async () => {
      const source =
        'videotestsrc is-live=true ! x264enc tune=zerolatency key-int-max=30 ! video/x-h264,profile=baseline';
      const sink = ['rtspclientsink', 'protocols=tcp', `location=${node.publishUrl('studio/1')}`];
      node.run('gst-launch-1.0', [...source.split(' '), '!', ...sink]);
      await published();
      expect(framesOf(await probe(node.playUrl('studio/1')), 'video')).toBeGreaterThan(20);
    });

    it('is refused for other names, for other tenants, and with a credential that may only play', async () => {
      expect(await isRefused(node.publishUrl('cam'))).toBe(true);
      expect(await isRefused(node.publishUrl('studio/1').replace('/demo/', '/other/'))).toBe(true);
      expect(await isRefused(node.publishUrl('studio/1', PLAYER_TOKEN))).toBe(true);
      expect(await isRefused(node.publishUrl('studio/1', 'nobody'))).toBe(true);
      expect(node.recorded.streamEvents).toEqual([]);
    });

    it('keeps its name from others, and takes over from itself at once', async () => {
      const first = node.push(node.publishUrl('studio/1'));
      const { epoch } = (await published()).info;
      expect(await isRefused(node.publishUrl('studio/1', PUBLISHER_TOKENS[1]))).toBe(true);
      first.kill('SIGSTOP');
      await waitFor(() => stream()?.videoFps === 0);
      node.push(node.publishUrl('studio/1'));
      await waitFor(() => (stream()?.videoFps ?? 0) > 10, { timeoutMs: 15_000 });
      expect(stream()?.info.epoch).toBe(epoch);
      // With other media, it is another stream.
      node.push(node.publishUrl('studio/1'), H265_PCMU);
      await waitFor(() => stream()?.info.codecs?.video === 'H265', { timeoutMs: 15_000 });
      expect(stream()?.info.epoch).toBeGreaterThan(epoch);
    });

    it('is refused under the name of a stream that a robot pushes', async () => {
      node.push(await node.awaitPush('studio/1', 's1'));
      await flowing('s1');
      expect(await isRefused(node.publishUrl('studio/1'))).toBe(true);
      expect(ended('s1')).toBeUndefined();
    });

    it('ends at once with the credential that it was opened with', async () => {
      const pusher = node.push(node.publishUrl('studio/1'));
      await published();
      const left = once(pusher, 'close');
      node.credentials.end(credentialOf(PUBLISHER_TOKENS[0]));
      expect(stream()).toBeUndefined();
      expect(node.recorded.told.at(-1)).toMatchObject({ what: 'ended', reason: EndReason.CLIENT });
      await left;
      expect(node.credentials.watchedCount).toBe(0);
    });

    it('ends with it at once also while its connection is lost and may come back', async () => {
      const pusher = node.push(node.publishUrl('studio/1'));
      await published();
      pusher.kill('SIGKILL');
      await waitFor(() => node.server.connectionCount === 0);
      expect(stream()).toBeDefined();
      node.credentials.end(credentialOf(PUBLISHER_TOKENS[0]));
      expect(stream()).toBeUndefined();
      expect(node.credentials.watchedCount).toBe(0);
    });

    describe('under a name that belongs to a robot', () => {
      const robots = () => new NameReservations({ redis, owner: 'robots' });
      beforeEach(() => robots().reserve({ tenant: 'demo', prefix: 'studio/' }));
      afterEach(() => robots().release({ tenant: 'demo', prefix: 'studio/' }));

      it('is accepted only with a right to exactly these names', async () => {
        expect(await isRefused(node.publishUrl('studio/1', PUBLISHER_OF_ALL_TOKEN))).toBe(true);
        expect(stream()).toBeUndefined();
        node.push(node.publishUrl('studio/1'));
        await published();
      });

      it('is not taken for the push of the robot, either', async () => {
        const url = await node.awaitPush('studio/1', 's1', 30_000, { owner: 'robots' });
        expect(await isRefused(node.publishUrl('studio/1', PUBLISHER_OF_ALL_TOKEN))).toBe(true);
        expect(node.recorded.has('s1', 'connected')).toBe(false);
        node.push(url);
        await flowing('s1');
      });
    });
  });

  it('pulls a camera once for all viewers, and again after the camera was away', async () => {
    const camera = await RtspNode.start(new Redis(redisServer.url, { db: 1 }));
    try {
      const cameraUrl = await camera.awaitPush('lens', 'c1', 60_000);
      const lens = camera.push(cameraUrl);
      await waitFor(() => camera.recorded.has('c1', 'connected'), { timeoutMs: 15_000 });
      await node.pull('pulled', 's1', camera.playUrl('lens'));
      await flowing('s1');
      expect(framesOf(await probe(node.playUrl('pulled')), 'video')).toBeGreaterThan(20);
      expect(camera.recorded.core.findLocal('demo', 'lens')?.info.viewers).toBe(1);
      lens.kill('SIGKILL');
      const stream = node.recorded.core.findLocal('demo', 'pulled');
      await waitFor(() => stream?.source.broken === true, { timeoutMs: 15_000 });
      await waitFor(() => camera.recorded.has('c1', 'ended'));
      const asked = vi.spyOn(camera.recorded.core, 'findLocal');
      await waitFor(() => asked.mock.results.length > 0, { what: 'an attempt that is refused' });
      camera.push(await camera.awaitPush('lens', 'c2', 60_000));
      await waitFor(() => stream?.source.broken === false, { timeoutMs: 20_000 });
      expect(ended('s1')).toBeUndefined();
    } finally {
      await camera.close();
    }
  });

  it.each([
    ['with a forbidden address', 'rtsp://169.254.169.254/latest', 'not allowed'],
    ['that nobody serves', 'rtsp://127.0.0.1:9/cam', undefined],
    ['that is no RTSP server', undefined, undefined],
  ])('ends or retries a pull %s without hanging', async (_name, url, detail) => {
    await node.pull('pulled', 's1', url ?? `rtsp://127.0.0.1:${new URL(redisServer.url).port}/x`);
    if (detail !== undefined) {
      await waitFor(() => ended('s1') !== undefined);
      expect(ended('s1')?.reason).toBe(EndReason.SOURCE_FAILED);
    } else {
      node.recorded.core.closeSession('s1', EndReason.CLIENT);
      expect(ended('s1')?.reason).toBe(EndReason.CLIENT);
    }
    await node.awaitPush('pulled', 's2');
  });
});
