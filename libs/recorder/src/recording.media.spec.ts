import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ntpTimeOf, ssrcOf, timestampOf, writeSenderReport } from '@weir/frames';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { containerFor, finishFile, Recorder, type RecordingFacts } from './index.js';
import { av1Packets } from './testing/av1-rtp.js';
import { captureRtp, type Clip, flashesAndBeeps, run, skewsOf } from './testing/ffmpeg.js';
import { MemoryTarget, partOf } from './testing/parts.js';
import { seededRandom } from './testing/virtual-sender.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'recorder-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

const START_MS = 1_800_000_000_000;
const FLASHES = "color=black:s=96x64:r=25,drawbox=color=white:t=fill:enable='lt(mod(t,1),0.12)'";
const BEEPS = "aevalsrc='if(lt(mod(t,1),0.1),sin(2*PI*1000*t),0)':s=48000";

async function clipOf(
  name: string,
  seconds: number,
  video: readonly string[],
  audio: readonly string[],
): Promise<Clip> {
  const file = join(folder, `${name}.mkv`);
  const inputs = ['-f', 'lavfi', '-i', FLASHES, '-f', 'lavfi', '-i', BEEPS, '-t', String(seconds)];
  await run('ffmpeg', ['-v', 'error', ...inputs, '-pix_fmt', 'yuv420p', ...video, ...audio, file]);
  // So that the parameter sets are in the stream, as the media core sends them.
  const filter = video.includes('libx264') ? 'h264_mp4toannexb' : 'null';
  return captureRtp(folder, file, ['video', 'audio'], filter);
}

const VP8 = ['-c:v', 'libvpx', '-deadline', 'realtime', '-cpu-used', '8', '-g', '50', '-auto-alt-ref', '0'];
const VP9 = ['-c:v', 'libvpx-vp9', '-deadline', 'realtime', '-cpu-used', '8', '-g', '50', '-lag-in-frames', '0'];
const H264 = ['-c:v', 'libx264', '-preset', 'veryfast', '-bf', '2', '-g', '50'];
const H264_BASELINE = ['-c:v', 'libx264', '-preset', 'ultrafast', '-profile:v', 'baseline', '-g', '50'];
const H265 = ['-c:v', 'libx265', '-preset', 'ultrafast', '-x265-params', 'log-level=none:keyint=50:bframes=2'];
const AAC = ['-c:a', 'aac'];
const OPUS = ['-c:a', 'libopus', '-b:a', '32k'];

interface Sent {
  readonly track: number;
  readonly packet: Uint8Array;
  readonly atMs: number;
}

/** The clip in real time, with a sender report of each track every two seconds. */
function sent(clip: Clip): Sent[] {
  const packets = clip.packets.map(({ track, packet, sentMs }) => ({ track, packet, atMs: START_MS + sentMs }));
  const reports = clip.tracks.flatMap((track, index) => {
    const first = clip.packets.find((each) => each.track === index)!;
    return Array.from({ length: 5 }, (_, report) => ({
      track: index,
      packet: writeSenderReport({
        ...{ ssrc: ssrcOf(first.packet), ...ntpTimeOf(START_MS - 500 + report * 2_000 + 100) },
        rtpTimestamp: (timestampOf(first.packet) + ((report * 2_000 + 100) * track.clockRate) / 1000) % 2 ** 32,
        ...{ packetCount: 0, octetCount: 0 },
      }),
      atMs: START_MS + report * 2_000 + 100,
    }));
  });
  return [...packets, ...reports].sort((a, b) => a.atMs - b.atMs);
}

function record(clip: Clip, packets: readonly Sent[], wish?: string): { bytes: Uint8Array; facts: RecordingFacts } {
  const fit = containerFor(clip.tracks, wish);
  if (fit.tag === 'unfit') throw new Error(fit.reason);
  const recorder = new Recorder({ container: fit.container, tracks: clip.tracks });
  const written: Uint8Array[] = [];
  let flushedMs = START_MS;
  for (const { track, packet, atMs } of packets) {
    for (; flushedMs + 1_000 <= atMs; flushedMs += 1_000) written.push(...recorder.flush(flushedMs + 1_000));
    recorder.take(track, packet, atMs);
  }
  written.push(...recorder.end(packets.at(-1)!.atMs + 40));
  return { bytes: Buffer.concat(written), facts: recorder.facts };
}

/** Decodes a whole file; ffmpeg fails at the first error. */
const decode = (path: string) =>
  run('ffmpeg', [
    '-v',
    'error',
    '-xerror',
    '-i',
    path,
    '-vsync',
    'passthrough',
    '-enc_time_base',
    '1:1000',
    '-f',
    'null',
    '-',
  ]);

async function finished(...parts: readonly Uint8Array[]) {
  const target = new MemoryTarget();
  const result = await finishFile(parts.map(partOf), target);
  if (result.tag !== 'finished') throw new Error(result.tag);
  expect(target.bytes.length).toBe(result.sizeBytes);
  return { ...result, bytes: target.bytes };
}

describe('a recording of what ffmpeg sends', { timeout: 60_000 }, () => {
  it.each([
    ['VP8 and Opus', 'webm', VP8, OPUS],
    ['VP9 and Opus', 'webm', VP9, OPUS],
    ['H.264 with B-frames and AAC', 'mp4', H264, AAC],
    ['H.264 and Opus', 'mp4', H264_BASELINE, OPUS],
    ['H.265 and AAC', 'mp4', H265, AAC],
  ])('%s decodes from the first to the last frame', async (name, container, video, audio) => {
    const clip = await clipOf(name.replaceAll(/\W/g, ''), 6, video, audio);
    const { bytes, facts } = record(clip, sent(clip));
    const file = await finished(bytes);
    const path = join(folder, `${name.replaceAll(/\W/g, '')}.out.${container}`);
    await writeFile(path, file.bytes);
    await writeFile(`${path}.raw`, bytes);
    await decode(path);
    expect(Math.abs(file.durationMs - 6_000)).toBeLessThan(45);
    expect(Math.abs(file.durationMs - facts.durationMs)).toBeLessThan(2);
    const probed = await run('ffprobe', ['-v', 'error', '-show_entries', 'format=duration', '-of', 'csv=p=0', path]);
    expect(Math.abs(Number(probed) * 1000 - file.durationMs)).toBeLessThan(2);
  });

  it.each(['webm', 'mp4'] as const)('AV1 in %s decodes from the first to the last frame', async (container) => {
    const source = join(folder, `av1-${container}.ivf`);
    const coding = ['-c:v', 'libaom-av1', '-usage', 'realtime', '-cpu-used', '8', '-g', '25'];
    await run('ffmpeg', [
      ...['-v', 'fatal', '-f', 'lavfi', '-i', FLASHES, '-t', '3', '-pix_fmt', 'yuv420p', ...coding],
      source,
    ]);
    const track = { kind: 'video', codec: 'AV1', clockRate: 90_000, channels: 0, parameters: {} } as const;
    const clip = { tracks: [track], packets: av1Packets(await readFile(source), 0) };
    const { bytes } = record(clip, sent(clip), container);
    const file = await finished(bytes);
    const path = join(folder, `av1.${container}`);
    await writeFile(path, file.bytes);
    await decode(path);
    expect(Math.abs(file.durationMs - 3_000)).toBeLessThan(45);
    const size = await run('ffprobe', [
      '-v',
      'error',
      '-show_entries',
      'stream=codec_name,width,height',
      '-of',
      'csv=p=0',
      path,
    ]);
    expect(String(size).trim()).toBe('av1,96,64');
  });

  it.each([
    ['webm', VP8, OPUS],
    ['mp4', H264, AAC],
  ] as const)('in %s that a kill cut anywhere decodes without an error', async (container, video, audio) => {
    const clip = await clipOf(`cut-${container}`, 6, video, audio);
    const { bytes } = record(clip, sent(clip));
    const random = seededRandom(3);
    for (let trial = 0; trial < 8; trial++) {
      const file = await finished(bytes.subarray(0, Math.floor((0.3 + 0.7 * random()) * bytes.length)));
      const path = join(folder, `cut-${trial}.${container}`);
      await writeFile(path, file.bytes);
      await decode(path);
    }
  });

  it.each([
    ['webm', VP8, OPUS],
    ['mp4', H264, AAC],
  ] as const)(
    'in %s of two parts, the second with another size, decodes without an error',
    async (container, video, audio) => {
      const clip = await clipOf(`parts-${container}`, 4, video, audio);
      const other = await clipOf(`other-${container}`, 3, ['-vf', 'scale=160:120', ...video], audio);
      const first = record(clip, sent(clip)).bytes;
      const file = await finished(first.subarray(0, first.length - 500), record(other, sent(other)).bytes);
      const path = join(folder, `parts.${container}`);
      await writeFile(path, file.bytes);
      await decode(path);
      const skews = skewsOf(await flashesAndBeeps(path));
      expect(skews.length).toBeGreaterThanOrEqual(6);
      // AAC from ffmpeg begins with 21 ms that aren't part of the sound.
      expect(Math.abs(skews.at(-1)!)).toBeLessThanOrEqual(container === 'mp4' ? 62 : 40);
    },
  );

  it.each([
    ['webm', VP8, OPUS],
    ['mp4', H264_BASELINE, OPUS],
  ] as const)(
    'in %s of a source that comes back with another size decodes without an error',
    async (container, video, audio) => {
      const clip = await clipOf(`small-${container}`, 4, video, audio);
      const other = await clipOf(`large-${container}`, 4, ['-vf', 'scale=160:120', ...video], audio);
      const inTime = (each: Sent) => each.atMs < START_MS + 4_000;
      const later = sent(other)
        .filter(inTime)
        .map((each) => ({ ...each, atMs: each.atMs + 5_000 }));
      const { bytes, facts } = record(clip, [...sent(clip).filter(inTime), ...later]);
      const path = join(folder, `size.${container}`);
      const file = await finished(bytes);
      await writeFile(path, file.bytes);
      await decode(path);
      expect(facts.losses).toBeLessThanOrEqual(2);
      expect(Math.abs(file.durationMs - 9_000)).toBeLessThan(90);
      const args = ['-v', 'error', '-select_streams', 'v', '-show_entries', 'frame=width', '-of', 'csv=p=0', path];
      const widths = String(await run('ffprobe', args))
        .trim()
        .split(/\s+/)
        .map(parseFloat);
      expect(widths.filter((width) => width === 96).length).toBeGreaterThanOrEqual(99);
      expect(widths.filter((width) => width === 160).length).toBeGreaterThanOrEqual(99);
      const skews = skewsOf(await flashesAndBeeps(path));
      expect(skews.length).toBeGreaterThanOrEqual(7);
      expect(Math.abs(skews.at(-1)!)).toBeLessThanOrEqual(40);
    },
  );

  it.each([
    ['webm', VP8, OPUS],
    ['mp4', H264_BASELINE, OPUS],
  ] as const)(
    'in %s whose pictures begin late has their size and keeps the sound before them',
    async (container, video, audio) => {
      const clip = await clipOf(`late-${container}`, 6, video, audio);
      const { bytes, facts } = record(
        clip,
        sent(clip).filter(({ track, atMs }) => track === 1 || atMs >= START_MS + 3_990),
      );
      const path = join(folder, `late.${container}`);
      await writeFile(path, (await finished(bytes)).bytes);
      await decode(path);
      expect(facts.gaps).toMatchObject([{ track: 0, atMs: 0 }]);
      const size = await run('ffprobe', [
        ...[
          '-v',
          'error',
          '-select_streams',
          'v',
          '-show_entries',
          'stream=width,height,start_time',
          '-of',
          'csv=p=0',
          path,
        ],
      ]);
      const [width, height, startS] = String(size).trim().split(',').map(Number);
      expect([width, height]).toEqual([96, 64]);
      expect(Math.abs(startS! - 4)).toBeLessThan(0.03);
    },
  );
});
