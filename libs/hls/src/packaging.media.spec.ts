import { spawn } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { codecNamed, parseFmtp } from '@weir/frames';
import { readMediaFragment } from '@weir/mp4';

import {
  initName,
  LivePlaylist,
  type PartOutput,
  partName,
  RtpPackager,
  type RtpPackagerOptions,
  segmentName,
  type SegmentOutput,
} from './index.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hls-'));
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

interface Arrival {
  kind: 'video' | 'audio';
  packet: Uint8Array;
  nowMs: number;
}

interface Recording {
  arrivals: Arrival[];
  tracks: Pick<RtpPackagerOptions, 'video' | 'audio'>;
}

/** The RTP and RTCP that ffmpeg sends in real time, with arrival times, and the SDP that describes them. */
async function record(input: readonly string[], kinds: readonly ('video' | 'audio')[]): Promise<Recording> {
  const sockets: Socket[] = [];
  const arrivals: Arrival[] = [];
  const listen = async (kind: 'video' | 'audio') => {
    const socket = createSocket({ type: 'udp4', recvBufferSize: 8_000_000 });
    sockets.push(socket);
    socket.on('message', (packet) => arrivals.push({ kind, packet, nowMs: performance.now() }));
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    return socket.address().port;
  };
  const outputs: string[] = [];
  for (const kind of kinds) {
    const url = `rtp://127.0.0.1:${await listen(kind)}?rtcpport=${await listen(kind)}&pkt_size=1200`;
    outputs.push('-map', `0:${kind[0]}`, '-c', 'copy', '-f', 'rtp', url);
  }
  const sdpFile = join(folder, `${Math.random()}.sdp`);
  await run('ffmpeg', ['-v', 'fatal', '-re', ...input, '-sdp_file', sdpFile, ...outputs]);
  await new Promise((resolve) => setImmediate(resolve));
  for (const socket of sockets) socket.close();
  const tracks: Record<string, unknown> = {};
  for (const media of (await readFile(sdpFile, 'utf8')).split(/^m=/m).slice(1)) {
    const [, name, clockRate, channels] = /a=rtpmap:\d+ ([^/]+)\/(\d+)(?:\/(\d+))?/.exec(media)!;
    const kind = media.startsWith('video') ? 'video' : 'audio';
    tracks[kind] = {
      kind,
      codec: codecNamed(name!),
      clockRate: Number(clockRate),
      channels: kind === 'video' ? 0 : Number(channels ?? 1),
      parameters: parseFmtp(/a=fmtp:\d+ (.*)/.exec(media)?.[1]?.trim() ?? ''),
    };
  }
  return { arrivals, tracks: tracks as Recording['tracks'] };
}

function packageAll({ arrivals, tracks }: Recording, options: Partial<RtpPackagerOptions> = {}): SegmentOutput[] {
  const packager = new RtpPackager({ ...tracks, ...options });
  const outputs = arrivals.flatMap(({ kind, packet, nowMs }) => packager.push(kind, packet, nowMs));
  return [...outputs, ...packager.end(arrivals.at(-1)!.nowMs)];
}

const partsOf = (outputs: SegmentOutput[]) => outputs.filter((output) => output.tag === 'part');

/** Writes the files that a web server would serve. */
async function publish(name: string, outputs: SegmentOutput[]): Promise<string> {
  const root = join(folder, name);
  await mkdir(root);
  const playlist = new LivePlaylist({ targetDurationS: 4, windowMs: 1_000_000 });
  const segments = new Map<number, Uint8Array[]>();
  for (const output of outputs) {
    playlist.add(output);
    if (output.tag === 'init') await writeFile(join(root, initName(output.initId)), output.data);
    if (output.tag === 'part') {
      segments.set(output.msn, [...(segments.get(output.msn) ?? []), output.data]);
      await writeFile(join(root, partName(output.msn, output.index)), output.data);
    }
  }
  for (const [msn, parts] of segments) await writeFile(join(root, segmentName(msn)), Buffer.concat(parts));
  await writeFile(join(root, 'index.m3u8'), playlist.render());
  return join(root, 'index.m3u8');
}

async function pictures(file: string): Promise<string[]> {
  const text = await run('ffmpeg', ['-v', 'error', '-i', file, '-map', '0:v', '-vsync', '0', '-f', 'framemd5', '-']);
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(',').at(-1)!.trim());
}

async function countAudioSamples(file: string): Promise<number> {
  const args = ['-v', 'error', '-select_streams', 'a', '-show_entries', 'frame=nb_samples', '-of', 'csv=p=0', file];
  const text = await run('ffprobe', args);
  return text.split('\n').reduce((sum, line) => sum + (parseInt(line) || 0), 0);
}

/** Checks that the fragments of every track follow each other to the tick. */
function expectContinuous(parts: PartOutput[]): void {
  const ends = new Map<number, number>();
  for (const part of parts) {
    for (const { trackId, decodeTime, samples } of readMediaFragment(part.data)) {
      const end = ends.get(trackId);
      if (end !== undefined) expect(decodeTime).toBe(end);
      expect(samples.every((sample) => sample.duration > 0)).toBe(true);
      ends.set(trackId, decodeTime + samples.reduce((sum, sample) => sum + sample.duration, 0));
    }
  }
}

const SOURCE = ['-f', 'lavfi', '-i', 'testsrc2=s=320x240:r=30', '-f', 'lavfi', '-i', 'sine=r=48000', '-t', '4'];

describe('packaging what ffmpeg sends as RTP', () => {
  it.each([
    [
      'H.264 with B-frames and AAC',
      'libx264',
      ['-bf', '2', '-g', '30', '-preset', 'veryfast'],
      'aac',
      ['avc1.64000d', 'mp4a.40.2'],
    ],
    ['H.264 baseline and Opus', 'libx264', ['-profile:v', 'baseline', '-g', '60'], 'libopus', ['avc1.42c00d', 'opus']],
    [
      'H.265 and AAC',
      'libx265',
      ['-preset', 'ultrafast', '-x265-params', 'log-level=none:keyint=30:bframes=2:open-gop=0'],
      'aac',
      ['hvc1.1.6.L60.90', 'mp4a.40.2'],
    ],
  ])(
    '%s decodes from the playlist, picture for picture',
    async (name, encoder, coding, audio, codecs) => {
      const source = join(folder, `${encoder}-${audio}.mp4`);
      await run('ffmpeg', [
        '-v',
        'error',
        ...SOURCE,
        '-pix_fmt',
        'yuv420p',
        '-c:v',
        encoder,
        ...coding,
        '-c:a',
        audio,
        source,
      ]);
      const outputs = packageAll(await record(['-i', source], ['video', 'audio']));
      const parts = partsOf(outputs);
      expect(outputs.find((output) => output.tag === 'init')).toMatchObject({
        codecs,
        video: { width: 320, height: 240 },
      });
      expect(parts.reduce((sum, part) => sum + part.videoFrames, 0)).toBe(120);
      expectContinuous(parts);
      const index = await publish(name.replaceAll(/\W/g, '-'), outputs);
      expect(await pictures(index)).toEqual(await pictures(source));
      const seconds = (await countAudioSamples(index)) / 48_000;
      expect(Math.abs(seconds - 4)).toBeLessThan(0.15);
    },
    30_000,
  );

  it('makes parts of 200 ms and a segment of each GOP at 30 frames per second', async () => {
    const coding = [
      '-pix_fmt',
      'yuv420p',
      '-c:v',
      'libx264',
      '-preset',
      'ultrafast',
      '-tune',
      'zerolatency',
      '-g',
      '30',
    ];
    const source = join(folder, 'zerolatency.mp4');
    await run('ffmpeg', ['-v', 'error', ...SOURCE, ...coding, '-an', source]);
    const outputs = packageAll(await record(['-i', source], ['video']));
    const parts = partsOf(outputs);
    expect(parts).toHaveLength(20);
    for (const part of parts) {
      expect(part.durationMs).toBeCloseTo(200, 0);
      expect(part.partTargetMs).toBe(228);
      expect(part.videoFrames).toBe(6);
      expect(part.isIndependent).toBe(part.index === 0);
    }
    expect(outputs.filter((output) => output.tag === 'segment-end').map((end) => end.durationMs)).toEqual([
      1000, 1000, 1000, 1000,
    ]);
  }, 30_000);

  it('packages audio alone', async () => {
    const source = join(folder, 'audio.mp4');
    await run('ffmpeg', ['-v', 'error', '-f', 'lavfi', '-i', 'sine=r=48000', '-t', '3', '-c:a', 'libopus', source]);
    const outputs = packageAll(await record(['-i', source], ['audio']));
    const parts = partsOf(outputs);
    expect(outputs.find((output) => output.tag === 'init')).toMatchObject({ codecs: ['opus'], video: undefined });
    expect(parts.slice(0, -1).every((part) => part.durationMs === 200 && part.isIndependent)).toBe(true);
    expectContinuous(parts);
    const index = await publish('audio-alone', outputs);
    expect((await countAudioSamples(index)) / 48_000).toBeGreaterThan(2.9);
  }, 30_000);

  it('goes on with a source that was started again with another picture size', async () => {
    const coding = ['-pix_fmt', 'yuv420p', '-c:v', 'libx264', '-preset', 'ultrafast', '-g', '30', '-c:a', 'libopus'];
    const recordings: Recording[] = [];
    for (const size of ['320x240', '480x272']) {
      const source = join(folder, `${size}.mkv`);
      const input = ['-f', 'lavfi', '-i', `testsrc2=s=${size}:r=30`, '-f', 'lavfi', '-i', 'sine=r=48000', '-t', '2'];
      await run('ffmpeg', ['-v', 'error', ...input, ...coding, source]);
      recordings.push(await record(['-i', source, '-bsf:v', 'h264_mp4toannexb'], ['video', 'audio']));
    }
    const [first, second] = recordings as [Recording, Recording];
    const outputs = packageAll({ tracks: first.tracks, arrivals: [...first.arrivals, ...second.arrivals] });
    const inits = outputs.filter((output) => output.tag === 'init');
    expect(inits.map((init) => init.video)).toEqual([
      { width: 320, height: 240 },
      { width: 480, height: 272 },
    ]);
    for (const { initId, data } of inits) {
      const own = partsOf(outputs).filter((part) => part.initId === initId);
      expect(own[0]!.isDiscontinuity).toBe(initId > 0);
      expectContinuous(own);
      const file = join(folder, `restart-${initId}.mp4`);
      await writeFile(file, Buffer.concat([data, ...own.map((part) => part.data)]));
      expect(await pictures(file)).toHaveLength(60);
    }
  }, 30_000);

  it('never throws on damaged packets, and what it makes of them is still well formed', async () => {
    const coding = ['-pix_fmt', 'yuv420p', '-c:v', 'libx264', '-preset', 'ultrafast', '-g', '10', '-c:a', 'aac'];
    const source = join(folder, 'damaged.mp4');
    await run('ffmpeg', ['-v', 'error', ...SOURCE.slice(0, -1), '2', ...coding, source]);
    const recording = await record(['-i', source], ['video', 'audio']);
    let state = 1;
    const random = (below: number) => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) % below;
    let parts = 0;
    for (let round = 0; round < 50; round++) {
      const arrivals = recording.arrivals.flatMap((arrival): Arrival[] => {
        const packet = arrival.packet.slice();
        if (random(20) === 0) return [];
        if (random(20) === 0) packet[random(packet.length)] = random(256);
        if (random(50) === 0) return [arrival, { ...arrival, packet: packet.subarray(0, random(packet.length)) }];
        return [{ ...arrival, packet }];
      });
      for (const part of partsOf(packageAll({ ...recording, arrivals }))) {
        parts++;
        expect(
          readMediaFragment(part.data)
            .flatMap((run) => run.samples)
            .every((sample) => sample.duration >= 0),
        ).toBe(true);
        expect(part.durationMs).toBeGreaterThan(0);
      }
    }
    expect(parts).toBeGreaterThan(50);
  }, 30_000);
});
