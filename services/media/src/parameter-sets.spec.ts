import { once } from 'node:events';
import { connect } from 'node:net';
import { parameterSetsOf, parseFmtp, parseH264Sps, parseH265Sps, type NalCodec } from '@weir/frames';
import { startRedis, waitFor, type TestServer } from '@weir/testing';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { encode, RawPusher, type EncodedVideo, type RawPushOptions } from '../testing/raw-pusher.js';
import { RtspNode } from '../testing/rtsp-node.js';

let redisServer: TestServer;
let redis: Redis;
let node: RtspNode;
const pushers: RawPusher[] = [];
const videos = {
  H264: encode('H264', '320x240'),
  H265: encode('H265', '320x240'),
} satisfies Record<NalCodec, EncodedVideo>;
const others = {
  H264: encode('H264', '160x128', ['-tune', 'fastdecode', '-profile:v', 'high', '-x264-params', '8x8dct=1']),
  H265: encode('H265', '160x128'),
} satisfies Record<NalCodec, EncodedVideo>;

beforeAll(async () => {
  redisServer = await startRedis();
  redis = new Redis(redisServer.url);
});
beforeEach(async () => {
  node = await RtspNode.start(redis);
});
afterEach(async () => {
  for (const pusher of pushers.splice(0)) pusher.stop();
  await node.close();
});
afterAll(async () => {
  redis.disconnect();
  await redisServer.stop();
});

async function push(url: string, options: RawPushOptions): Promise<RawPusher> {
  const pusher = await RawPusher.push(url, options);
  pushers.push(pusher);
  return pusher;
}

const info = () => node.recorded.core.findLocal('demo', 'cam')?.info;
const sized = (width: number) => waitFor(() => info()?.width === width, { what: `a picture ${width} wide` });

/** The fmtp parameters in the answer to DESCRIBE. */
async function described(): Promise<Record<string, string>> {
  const socket = connect(node.server.port, '127.0.0.1');
  const url = node.signedPlayUrl('cam');
  socket.write(`DESCRIBE ${url} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n`);
  const [answer] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  return parseFmtp(/^a=fmtp:\d+ (.*)$/m.exec(answer.toString())?.[1] ?? '');
}

/** The picture's width by the parameter sets of a description. */
function widthOf(codec: NalCodec, fmtp: Record<string, string>): number | undefined {
  const [sps] = parameterSetsOf(codec, fmtp)?.sps ?? [];
  return sps && (codec === 'H264' ? parseH264Sps(sps) : parseH265Sps(sps))?.width;
}

/** An RTSP player that reports each picture that it decodes, and its complaints. */
function startPlayer(): { told: string } {
  const player = node.run('ffmpeg', [
    ...['-hide_banner', '-nostats', '-rtsp_transport', 'tcp', '-i', node.playUrl('cam')],
    ...['-vf', 'showinfo', '-fps_mode', 'passthrough', '-f', 'null', '-'],
  ]);
  const output = { told: '' };
  player.stderr?.on('data', (chunk: Buffer) => {
    output.told += chunk.toString();
  });
  return output;
}

const shows = (player: { told: string }, size: string) =>
  waitFor(() => player.told.split(` s:${size} `).length > 10, { timeoutMs: 20_000, what: `pictures of ${size}` });

describe.each(['H264', 'H265'] as const)('the parameter sets of %s that comes by RTSP', (codec) => {
  it.each(['half', 'empty', 'none'] as const)(
    'are filled in from the stream where the SDP is %s of them',
    async (sprop) => {
      await push(await node.awaitPush('cam', 's1'), { video: videos[codec], sprop });
      await sized(320);
      expect(widthOf(codec, await described())).toBe(320);
      const told = Object.fromEntries(Object.entries(info()?.tracks[0]?.parameters ?? {}));
      expect(widthOf(codec, told)).toBe(320);
    },
  );

  it('are those of the stream if the SDP has others', async () => {
    await push(await node.awaitPush('cam', 's1'), { video: videos[codec], described: others[codec] });
    await sized(320);
    expect(widthOf(codec, await described())).toBe(320);
  });

  it('are put into the stream if only the SDP has them, and size and frame rate are known', async () => {
    await push(await node.awaitPush('cam', 's1'), { video: videos[codec], inBand: false });
    await sized(320);
    expect(info()).toMatchObject({ width: 320, height: 240 });
    const stream = node.recorded.core.findLocal('demo', 'cam');
    await waitFor(() => Math.round(stream?.videoFps ?? 0) === 15, { what: '15 pictures a second' });
    expect(stream?.videoMeter?.keyFrames).toBeGreaterThan(0);
  });

  it.each([
    ['in band', true],
    ['in its SDP alone', false],
  ])('change with a pusher that returns with others %s, even for players that play already', async (_name, inBand) => {
    const url = await node.awaitPush('cam', 's1');
    const first = await push(url, { video: videos[codec], inBand });
    await sized(320);
    const player = startPlayer();
    await shows(player, '320x240');
    const toldBefore = player.told.length;
    first.stop();
    await waitFor(() => node.recorded.core.findLocal('demo', 'cam')?.source.broken === true);
    await push(url, { video: others[codec], inBand });
    await sized(160);
    expect(widthOf(codec, await described())).toBe(160);
    await shows(player, '160x128');
    const complaints = /non-existing|out of range|error while decoding|could not find ref|concealing/i;
    const told = player.told.slice(toldBefore).split('\n');
    expect(told.filter((line) => complaints.test(line))).toEqual([]);
  });

  it('change when the stream changes them', async () => {
    const pusher = await push(await node.awaitPush('cam', 's1'), { video: videos[codec] });
    await sized(320);
    pusher.change(others[codec]);
    await sized(160);
    expect(widthOf(codec, await described())).toBe(160);
    const webRtc = node.recorded.core.findLocal('demo', 'cam')?.track('video')?.webRtcCodec;
    if (codec === 'H264') expect(webRtc?.parameters['profile-level-id']).toMatch(/^64/);
  });
});
