import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import {
  createFrameAssembler,
  type Frame,
  type FrameAssemblerOptions,
  frameToAnnexB,
  H264Packetizer,
  isRtcp,
  type NalFrame,
  parseFmtp,
  parseH264Sps,
  parseH265Sps,
  parseRtcp,
  type RawVideoFrame,
  splitAnnexB,
  writeIvf,
} from './index.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'frames-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

async function run(program: string, args: readonly string[]): Promise<string> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const output: string[] = [];
  const errors: string[] = [];
  child.stdout.on('data', (chunk) => output.push(String(chunk)));
  child.stderr.on('data', (chunk) => errors.push(String(chunk)));
  const [status] = await once(child, 'close');
  if (status !== 0 || errors.length > 0) throw new Error(`${program} ${args.join(' ')}: ${status} ${errors.join('')}`);
  return output.join('');
}

const VIDEO_SOURCE = ['-f', 'lavfi', '-i', 'testsrc2=s=320x240:r=30'];
const AUDIO_SOURCE = ['-f', 'lavfi', '-i', 'sine=r=48000'];

interface Recording {
  packets: Uint8Array[];
  reports: Uint8Array[];
  options: Pick<FrameAssemblerOptions, 'clockRate' | 'parameters'>;
}

/** The RTP that ffmpeg sends to a socket of this test, and the SDP that describes it. */
async function record(...args: string[]): Promise<Recording> {
  const rtp = createSocket({ type: 'udp4', recvBufferSize: 8_000_000 });
  const rtcp = createSocket('udp4');
  const packets: Uint8Array[] = [];
  const reports: Uint8Array[] = [];
  rtp.on('message', (message) => packets.push(message));
  rtcp.on('message', (message) => reports.push(message));
  for (const socket of [rtp, rtcp]) {
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
  }
  const sdpFile = join(folder, `${(rtp.address() as AddressInfo).port}.sdp`);
  const target = `rtp://127.0.0.1:${rtp.address().port}?rtcpport=${rtcp.address().port}&pkt_size=1200`;
  await run('ffmpeg', ['-v', 'fatal', '-re', ...args, '-sdp_file', sdpFile, '-f', 'rtp', target]);
  await new Promise((resolve) => setImmediate(resolve));
  rtp.close();
  rtcp.close();
  const sdp = await readFile(sdpFile, 'utf8');
  return {
    packets,
    reports,
    options: {
      clockRate: Number(/a=rtpmap:\d+ [^/\s]+\/(\d+)/.exec(sdp)?.[1] ?? 8000),
      parameters: parseFmtp(/a=fmtp:\d+ (.*)/.exec(sdp)?.[1]?.trim() ?? ''),
    },
  };
}

function assemble(codec: FrameAssemblerOptions['codec'], { packets, options }: Recording): Frame[] {
  const assembler = createFrameAssembler({ codec, ...options });
  return [...packets.flatMap((packet) => assembler.push(packet)), ...assembler.flush()];
}

/** The MD5 of each picture that ffmpeg's own decoder makes of the file. */
async function pictures(file: string, format: string): Promise<string[]> {
  const text = await run('ffmpeg', ['-v', 'error', '-f', format, '-i', file, '-map', '0:v', '-f', 'framemd5', '-']);
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(',').at(-1)!.trim());
}

async function decode(name: string, format: string, bytes: Uint8Array): Promise<string[]> {
  const file = join(folder, name);
  await writeFile(file, bytes);
  return pictures(file, format);
}

const asNalFrames = (frames: Frame[]) => frames as NalFrame[];

describe('frames of what ffmpeg sends', { timeout: 30_000 }, () => {
  it('gives every H.264 frame with B-frames and several slices, decodable picture for picture', async () => {
    const source = join(folder, 'b-frames.h264');
    const coding = ['-c:v', 'libx264', '-preset', 'veryfast', '-bf', '2', '-g', '30', '-x264-params', 'slices=3'];
    await run('ffmpeg', ['-v', 'error', ...VIDEO_SOURCE, '-t', '2', '-pix_fmt', 'yuv420p', ...coding, source]);
    const recording = await record('-r', '30', '-f', 'h264', '-i', source, '-c', 'copy');
    const frames = asNalFrames(assemble('H264', recording));
    expect(frames).toHaveLength(60);
    expect(frames.every((frame) => frame.complete && !frame.lost)).toBe(true);
    expect(frames.filter((frame) => frame.isKeyFrame)).toHaveLength(2);
    expect(frames[0]!.nalUnits.length).toBeGreaterThanOrEqual(3);
    const sps = parseH264Sps(frames[0]!.parameterSets!.sps[0]!);
    expect(sps).toMatchObject({ width: 320, height: 240, reorderFrames: 2, profileIdc: 100 });
    const assembled = await decode('assembled.h264', 'h264', concat(frames.map(frameToAnnexB)));
    expect(assembled).toEqual(await pictures(source, 'h264'));
  });

  it('takes SPS and PPS from the SDP when the stream carries none, and packs the frames anew for another receiver', async () => {
    const coding = [
      '-c:v',
      'libx264',
      '-preset',
      'ultrafast',
      '-tune',
      'zerolatency',
      '-g',
      '15',
      '-flags',
      '+global_header',
    ];
    const recording = await record(...VIDEO_SOURCE, '-t', '1', '-pix_fmt', 'yuv420p', ...coding);
    const withoutSdp = assemble('H264', { ...recording, options: { clockRate: 90_000 } });
    expect(asNalFrames(withoutSdp)[0]!.parameterSets).toBeUndefined();
    const frames = asNalFrames(assemble('H264', recording));
    expect(frames).toHaveLength(30);
    expect(frames[0]!.parameterSets!.sps).toHaveLength(1);
    expect(new Set(frames.map((frame) => frame.parameterSets)).size).toBe(1);
    expect(recording.reports.flatMap(parseRtcp).map((message) => message.tag)).toContain('sender-report');
    expect(recording.reports.every(isRtcp)).toBe(true);

    const packetizer = new H264Packetizer({ payloadType: 97, ssrc: 5, sequenceNumber: 65_530, maxPacketBytes: 700 });
    const packets = frames.flatMap((frame) => packetizer.packetize(frame));
    expect(Math.max(...packets.map((packet) => packet.length))).toBeLessThanOrEqual(700);
    const again = asNalFrames(assemble('H264', { packets, reports: [], options: { clockRate: 90_000 } }));
    expect(again.map(frameToAnnexB)).toEqual(frames.map(frameToAnnexB));
  });

  it('gives every H.265 frame with B-frames', async () => {
    const source = join(folder, 'b-frames.h265');
    const coding = ['-c:v', 'libx265', '-preset', 'ultrafast', '-x265-params', 'log-level=none:bframes=2:keyint=15'];
    await run('ffmpeg', ['-v', 'error', ...VIDEO_SOURCE, '-t', '1', '-pix_fmt', 'yuv420p', ...coding, source]);
    const recording = await record('-r', '30', '-f', 'hevc', '-i', source, '-c', 'copy');
    const frames = asNalFrames(assemble('H265', recording));
    expect(frames).toHaveLength(30);
    expect(parseH265Sps(frames[0]!.parameterSets!.sps[0]!)).toMatchObject({ width: 320, height: 240, profileIdc: 1 });
    const assembled = await decode('assembled.h265', 'hevc', concat(frames.map(frameToAnnexB)));
    expect(assembled).toEqual(await pictures(source, 'hevc'));
  });

  it.each([
    ['VP8', 'libvpx', []],
    ['VP9', 'libvpx-vp9', ['-strict', '-2']],
  ] as const)('gives every %s frame, and a key frame as a file of its own', async (codec, encoder, more) => {
    const coding = ['-c:v', encoder, '-deadline', 'realtime', '-cpu-used', '8', '-b:v', '1M', '-g', '15', ...more];
    const recording = await record(...VIDEO_SOURCE, '-t', '1', '-pix_fmt', 'yuv420p', ...coding);
    const frames = assemble(codec, recording) as RawVideoFrame[];
    expect(frames).toHaveLength(30);
    expect(frames.filter((frame) => frame.isKeyFrame).length).toBeGreaterThanOrEqual(2);
    expect(await decode(`${codec}.ivf`, 'ivf', writeIvf(frames))).toHaveLength(30);
    expect(await decode(`${codec}-one.ivf`, 'ivf', writeIvf(frames.slice(0, 1)))).toHaveLength(1);
  });

  it.each([
    ['MPEG4-GENERIC', ['-c:a', 'aac', '-b:a', '64k'], 1024, 48_000],
    ['opus', ['-c:a', 'libopus', '-b:a', '32k'], 960, 48_000],
    ['PCMU', ['-c:a', 'pcm_mulaw', '-ar', '8000', '-ac', '1'], undefined, 8_000],
    ['PCMA', ['-c:a', 'pcm_alaw', '-ar', '8000', '-ac', '1'], undefined, 8_000],
  ] as const)('gives %s frames that follow each other without a gap', async (codec, coding, ticks, clockRate) => {
    const recording = await record(...AUDIO_SOURCE, '-t', '1', ...coding);
    expect(recording.options.clockRate).toBe(clockRate);
    const frames = assemble(codec, recording).filter((frame) => frame.kind === 'audio');
    expect(frames.length).toBeGreaterThan(5);
    frames.slice(1).forEach((frame, index) => {
      const before = frames[index]!;
      expect(frame.rtpTimestamp).toBe(before.rtpTimestamp + before.durationTicks);
    });
    if (ticks !== undefined) expect(frames[0]!.durationTicks).toBe(ticks);
    const total = frames.reduce((sum, frame) => sum + frame.durationTicks, 0);
    expect(total / clockRate).toBeGreaterThan(0.95);
  });
});

describe('sequence parameter sets of real encoders', { timeout: 30_000 }, () => {
  it.each([
    ['1920x1080', ['-pix_fmt', 'yuv420p']],
    ['1920x1080', ['-pix_fmt', 'yuv420p', '-x264-params', 'interlaced=1']],
    ['638x358', ['-pix_fmt', 'yuv420p', '-bf', '3']],
    ['320x242', ['-pix_fmt', 'yuv422p10le']],
    ['321x241', ['-pix_fmt', 'yuv444p', '-x264-params', 'cqm=jvt']],
    ['176x144', ['-pix_fmt', 'gray']],
    [
      '320x240',
      [
        '-pix_fmt',
        'yuv420p',
        '-profile:v',
        'baseline',
        '-x264-params',
        'nal-hrd=cbr',
        '-b:v',
        '1M',
        '-maxrate',
        '1M',
        '-bufsize',
        '1M',
      ],
    ],
  ])('tell %s with %j', async (size, coding) => {
    const file = join(folder, 'sps.h264');
    const input = ['-f', 'lavfi', '-i', `testsrc=s=${size}:r=25`, '-t', '0.4', '-y'];
    await run('ffmpeg', ['-v', 'error', ...input, '-c:v', 'libx264', '-preset', 'veryfast', ...coding, file]);
    const nalUnits = splitAnnexB(new Uint8Array(await readFile(file)));
    const sps = parseH264Sps(nalUnits.find((nalUnit) => (nalUnit[0]! & 0x1f) === 7)!);
    const fields = 'stream=width,height,has_b_frames';
    const told = (await run('ffprobe', ['-v', 'error', '-show_entries', fields, '-of', 'csv=p=0', file])).trim();
    expect(`${sps?.width},${sps?.height},${sps?.reorderFrames}`).toBe(told);
    expect(`${sps?.width}x${sps?.height}`).toBe(size);
    expect(sps?.frameRate).toBe(25);
  });
});

function concat(parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}
