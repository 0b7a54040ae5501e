import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { create } from '@bufbuild/protobuf';
import { ErrorCode, IngestRequestSchema, MediaKind, TapRequestSchema } from '@weir/contracts';
import { RtpPacket } from '@weir/frames';
import { parseRtspDescription } from '@weir/sdp';
import { startRedis, waitFor, type TestServer } from '@weir/testing';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { encode, RawPusher } from '../testing/raw-pusher.js';
import { H264_AAC, H264_B_FRAMES, RtspNode } from '../testing/rtsp-node.js';
import { notCarriedOf, usableTracks } from './ingest.js';

let redisServer: TestServer;
let redis: Redis;
let node: RtspNode;
let sockets: { audio: Socket; video: Socket };

beforeAll(async () => {
  redisServer = await startRedis();
  redis = new Redis(redisServer.url);
});
beforeEach(async () => {
  node = await RtspNode.start(redis);
  sockets = { audio: createSocket('udp4'), video: createSocket('udp4') };
  for (const socket of Object.values(sockets)) await once(socket.bind(0, '127.0.0.1'), 'listening');
});
afterEach(async () => {
  for (const socket of Object.values(sockets)) socket.close();
  await node.close();
});
afterAll(async () => {
  redis.disconnect();
  await redisServer.stop();
});

const info = () => node.recorded.core.findLocal('demo', 'cam')?.info;

async function push(options: readonly string[]): Promise<void> {
  node.push(await node.awaitPush('cam', 's1'), options);
  await waitFor(() => node.recorded.has('s1', 'connected'), { timeoutMs: 15_000, what: 'media' });
}

/** The result of ffprobe for the stream that RTSP delivers. */
async function playedByRtsp(): Promise<string[]> {
  const child = node.run('ffprobe', [
    ...['-loglevel', 'error', '-rtsp_transport', 'tcp', '-read_intervals', '%+2', '-count_frames'],
    ...['-show_entries', 'stream=codec_name,nb_read_frames', '-of', 'csv=p=0', node.playUrl('cam')],
  ]);
  let output = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  await once(child, 'close');
  return output
    .split('\n')
    .filter((line) => Number(line.split(',')[1]) > 5)
    .map((line) => line.split(',')[0] ?? '')
    .sort();
}

/** The codecs of the packets that a service gets when it asks for media that WebRTC can carry. */
async function tappedForWebRtc(): Promise<string[]> {
  const heard = new Set<number>();
  for (const socket of Object.values(sockets))
    socket.on('message', (packet) => {
      const rtp = RtpPacket.parse(packet);
      if (rtp !== undefined && rtp.payload.length > 0) heard.add(rtp.ssrc);
    });
  const address = (socket: Socket) => ({ ip: '127.0.0.1', port: socket.address().port });
  const { tracks } = await node.sources.tap(
    create(TapRequestSchema, {
      ...{ tenant: 'demo', streamName: 'cam', sessionId: 't1', ownerId: 'owner', forWebrtc: true },
      audio: address(sockets.audio),
      video: address(sockets.video),
    }),
  );
  await waitFor(() => tracks.every(({ ssrc }) => heard.has(ssrc)), {
    timeoutMs: 20_000,
    what: 'packets of each track',
  });
  return tracks.map(({ track }) => track?.codec ?? '').sort();
}

const X264 = ['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-pix_fmt', 'yuv420p', '-g', '25'];
const OPUS = ['-c:a', 'libopus'];
const NARROW = ['-ar', '8000', '-ac', '1'];

describe('of every codec that comes by RTSP, RTSP players get it as it is, and WebRTC what it can carry:', () => {
  it.each([
    ['H264 and opus', [...X264, ...OPUS], ['h264', 'opus'], 0],
    [
      'H264 with B-frames and PCMA',
      ['-c:v', 'libx264', '-bf', '2', '-g', '25', '-pix_fmt', 'yuv420p', '-c:a', 'pcm_alaw', ...NARROW],
      ['h264', 'pcm_alaw'],
      1,
    ],
    [
      'JPEG and MP4A-LATM',
      ['-c:v', 'mjpeg', '-huffman', 'default', '-pix_fmt', 'yuvj420p', '-c:a', 'aac', '-rtpflags', 'latm'],
      ['aac', 'mjpeg'],
      1,
    ],
    [
      'MP4V-ES and G722',
      ['-c:v', 'mpeg4', '-g', '25', '-c:a', 'g722', '-ar', '16000', '-ac', '1'],
      ['adpcm_g722', 'mpeg4'],
      1,
    ],
    ['MPV and MPA', ['-c:v', 'mpeg2video', '-g', '25', '-c:a', 'mp2'], ['mp2', 'mpeg2video'], 1],
    [
      'H263-1998 and SPEEX',
      ['-c:v', 'h263p', '-g', '25', '-s', '352x288', '-c:a', 'libspeex', ...NARROW],
      ['h263', 'speex'],
      1,
    ],
    ['THEORA and VORBIS', ['-c:v', 'libtheora', '-g', '25', '-c:a', 'libvorbis'], ['theora', 'vorbis'], 1],
    [
      'VP8 and L16',
      ['-c:v', 'libvpx', '-deadline', 'realtime', '-g', '25', '-c:a', 'pcm_s16be'],
      ['pcm_s16be', 'vp8'],
      1,
    ],
    [
      'VP9 and G726',
      [
        '-c:v',
        'libvpx-vp9',
        '-deadline',
        'realtime',
        '-cpu-used',
        '8',
        '-g',
        '25',
        '-strict',
        '-2',
        '-c:a',
        'g726',
        ...NARROW,
      ],
      ['adpcm_g726', 'vp9'],
      1,
    ],
    [
      'H265 and MPEG4-GENERIC',
      [
        '-c:v',
        'libx265',
        '-preset',
        'ultrafast',
        '-pix_fmt',
        'yuv420p',
        '-x265-params',
        'log-level=none:keyint=25',
        '-c:a',
        'aac',
      ],
      ['aac', 'hevc'],
      1,
    ],
  ])('%s', async (_name, options, codecs, transcodes) => {
    await push(options);
    expect(info()?.notCarried).toEqual([]);
    expect(await playedByRtsp()).toEqual(codecs);
    const carried = await tappedForWebRtc();
    expect(carried).toEqual(['H264', codecs.includes('pcm_alaw') ? 'PCMA' : 'opus']);
    expect(node.transcodes).toBe(transcodes);
  });
});

/** RTP from another service, like that of a relay or a WebRTC client. */
async function feed(options: readonly string[]): Promise<void> {
  const { rtpAddresses = [] } = await node.sources.ingest(
    create(IngestRequestSchema, {
      ...{ tenant: 'demo', streamName: 'cam', sessionId: 's1', ownerId: 'owner' },
      source: {
        case: 'rtpFeed',
        value: {
          tracks: [{ track: { kind: MediaKind.VIDEO, codec: 'H264', clockRate: 90_000 }, payloadType: 96, ssrc: 7 }],
        },
      },
    }),
  );
  node.run('ffmpeg', [
    ...['-loglevel', 'error', '-nostdin', '-re', '-f', 'lavfi', '-i', 'testsrc2=size=320x240:rate=25'],
    ...[...options, '-an', '-payload_type', '96', '-ssrc', '7', '-f', 'rtp'],
    `rtp://127.0.0.1:${rtpAddresses[0]?.port}?pkt_size=1200`,
  ]);
  await waitFor(() => info()?.ready === true, { timeoutMs: 15_000, what: 'media' });
}

describe('H.264 that comes as WebRTC brings it', () => {
  it.each([
    ['with B-frames is transcoded for WebRTC players', H264_B_FRAMES, 1],
    ['without is handed on as it is', H264_AAC, 0],
  ])('%s', async (_name, options, transcodes) => {
    await feed(options);
    expect(await tappedForWebRtc()).toEqual(['H264']);
    expect(node.transcodes).toBe(transcodes);
  });
});

describe('what a source announces', () => {
  const announced = (...lines: string[]) => {
    const parsed = parseRtspDescription(['v=0', 'o=- 1 1 IN IP4 0.0.0.0', 's=-', 't=0 0', ...lines].join('\r\n'));
    return parsed.tag === 'description' ? parsed.tracks : [];
  };
  const H264 = ['m=video 0 RTP/AVP 96', 'a=rtpmap:96 H264/90000'];

  it.each([
    ['a codec that nobody knows', ['m=audio 0 RTP/AVP 18'], 'audio G729: '],
    ['a codec that this ffmpeg does not read', ['m=video 0 RTP/AVP 97', 'a=rtpmap:97 AV1/90000'], 'video AV1: '],
    ['AAC without its config', ['m=audio 0 RTP/AVP 97', 'a=rtpmap:97 MPEG4-GENERIC/48000/2'], 'audio MPEG4-GENERIC: '],
    [
      'LATM with its config in the stream',
      ['m=audio 0 RTP/AVP 97', 'a=rtpmap:97 MP4A-LATM/48000', 'a=fmtp:97 cpresent=1'],
      'audio MP4A-LATM: ',
    ],
    [
      'metadata',
      ['m=application 0 RTP/AVP 107', 'a=rtpmap:107 vnd.onvif.metadata/90000'],
      'other vnd.onvif.metadata: ',
    ],
  ])('is named where it can not be carried: %s', (_name, lines, named) => {
    const tracks = announced(...lines);
    expect(usableTracks(tracks)).toEqual([]);
    expect(notCarriedOf(tracks)).toEqual([expect.stringContaining(named)]);
  });

  it('becomes one track of each kind; a second one is named as not carried', () => {
    const tracks = announced(...H264, ...H264);
    expect(usableTracks(tracks).map(({ announcedIndex }) => announcedIndex)).toEqual([0]);
    expect(notCarriedOf(tracks)).toEqual([expect.stringContaining('video H264: ')]);
  });

  it('is shown with its stream', async () => {
    const options = [...X264, '-c:a', 'libopus', '-map', '0:v', '-map', '0:v', '-map', '1:a'];
    await push(options);
    expect(info()).toMatchObject({ codecs: { video: 'H264', audio: 'opus' } });
    expect(info()?.notCarried).toEqual(['video H264: a stream has one video track']);
  });
});

describe('decoding', () => {
  it('has a limit for the size of a picture, for snapshots and for players', async () => {
    const video = encode('H265', '4112x4112', [], 1);
    const pusher = await RawPusher.push(await node.awaitPush('cam', 's1'), { video });
    await waitFor(() => info()?.width === 4112, { what: 'the size' });
    await expect(node.recorded.core.snapshot('demo', 'cam')).rejects.toThrow('4112×4112 is too large for a snapshot');
    await expect(tappedForWebRtc()).rejects.toMatchObject({ code: ErrorCode.NO_COMMON_CODECS });
    pusher.stop();
  });

  it('has a limit for the number of streams', async () => {
    await node.close();
    node = await RtspNode.start(redis, { maxTranscodes: 0 });
    await push(H264_AAC);
    await expect(tappedForWebRtc()).rejects.toMatchObject({ code: ErrorCode.EXHAUSTED });
  });

  it('makes snapshots of H.265 too', async () => {
    const pusher = await RawPusher.push(await node.awaitPush('cam', 's1'), { video: encode('H265', '320x240') });
    await waitFor(() => info()?.width === 320);
    const png = Buffer.from(await node.recorded.core.snapshot('demo', 'cam'));
    expect([png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual([320, 240]);
    pusher.stop();
  });
});
