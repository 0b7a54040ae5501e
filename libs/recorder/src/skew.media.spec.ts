import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { finishFile, Recorder } from './index.js';
import { captureRtp, type Clip, flashesAndBeeps, run, skewsOf } from './testing/ffmpeg.js';
import { MemoryTarget, partOf } from './testing/parts.js';
import { type Path, seededRandom, sendLoop } from './testing/virtual-sender.js';

const START_MS = 1_800_000_000_000;
const CLIP_MS = 10_000;
const MAX_SKEW_MS = 40;

let folder: string;
let clip: Clip;
/** The same with a second camera, which sees the same. */
let twoCameras: Clip;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'skew-'));
  const file = join(folder, 'clip.mkv');
  const flashes = "color=black:s=64x48:r=10,drawbox=color=white:t=fill:enable='lt(mod(t,1),0.12)'";
  const beeps = "aevalsrc='if(lt(mod(t,1),0.1),sin(2*PI*1000*t),0)':s=48000";
  await run('ffmpeg', [
    ...['-v', 'error', '-f', 'lavfi', '-i', flashes, '-f', 'lavfi', '-i', beeps, '-t', String(CLIP_MS / 1000)],
    ...['-pix_fmt', 'yuv420p', '-c:v', 'libvpx', '-deadline', 'realtime', '-cpu-used', '8', '-g', '20'],
    ...['-auto-alt-ref', '0', '-c:a', 'libopus', '-b:a', '24k', file],
  ]);
  clip = await captureRtp(folder, file, ['video', 'audio']);
  twoCameras = await captureRtp(folder, file, ['video', 'audio', 'video']);
}, 60_000);
afterAll(async () => {
  await rm(folder, { recursive: true });
});

interface Scenario {
  readonly seconds: number;
  readonly video?: Path;
  readonly audio?: Path;
  readonly secondVideo?: Path;
}

async function record(name: string, { seconds, video = {}, audio = {}, secondVideo }: Scenario) {
  const sentClip = secondVideo === undefined ? clip : twoCameras;
  const recorder = new Recorder({ container: 'webm', tracks: sentClip.tracks });
  const written: Uint8Array[] = [];
  const reports = { reportEveryMs: 5_000 };
  const durationMs = seconds * 1000;
  const options = { clip: sentClip, clipMs: CLIP_MS, startMs: START_MS, durationMs, random: seededRandom(7) };
  let flushedMs = START_MS;
  let nowMs = START_MS;
  for (const sent of sendLoop({
    ...options,
    paths: [
      { ...reports, ...video },
      { ...reports, ...audio },
      { ...reports, ...secondVideo },
    ],
  })) {
    for (; flushedMs + 1_000 <= sent.atMs; flushedMs += 1_000) written.push(...recorder.flush(flushedMs + 1_000));
    recorder.take(sent.track, sent.packet, sent.atMs);
    nowMs = sent.atMs;
  }
  written.push(...recorder.end(nowMs));
  const target = new MemoryTarget();
  const result = await finishFile([partOf(Buffer.concat(written))], target);
  if (result.tag !== 'finished') throw new Error(result.tag);
  const file = join(folder, `${name}.webm`);
  await writeFile(file, target.bytes);
  const seen = await flashesAndBeeps(file);
  const skews = skewsOf(seen);
  return {
    ...seen,
    file,
    p99Ms: p99(skews),
    pairs: skews.length,
    durationMs: result.durationMs,
    facts: recorder.facts,
  };
}

/** Of the distances, which are sorted. */
const p99 = (skews: readonly number[]): number => Math.abs(skews[Math.ceil(skews.length * 0.99) - 1] ?? Infinity);

const SECOND = 1_000;

describe('flashes and beeps stay together', { timeout: 120_000 }, () => {
  const scenarios: [string, Scenario, number][] = [
    ['on a good network', { seconds: 30 }, 29],
    ['when the sound begins later', { seconds: 30, audio: { silent: [[0, 7_300]] } }, 21],
    ['when the pictures begin later', { seconds: 30, video: { silent: [[0, 7_300]] } }, 21],
    ['over a mute', { seconds: 40, audio: { silent: [[10_510, 25_530]] } }, 24],
    ['over a pause of the camera', { seconds: 40, video: { silent: [[10_510, 25_530]] } }, 22],
    ['with loss', { seconds: 60, video: { loss: 0.02 }, audio: { loss: 0.05 } }, 30],
    [
      'when the source comes back with other numbers',
      { seconds: 60, video: { jumpsAtMs: [20_500, 40_100] }, audio: { jumpsAtMs: [20_500, 40_100] } },
      50,
    ],
    [
      'when the timestamps wrap',
      { seconds: 40, video: { firstTimestamp: 2 ** 32 - 900_000 }, audio: { firstTimestamp: 2 ** 32 - 960_000 } },
      38,
    ],
    [
      'when one path is slower, told from the first report on',
      { seconds: 60, video: { delayMs: 180, jitterMs: 40, firstReportMs: 300 }, audio: { firstReportMs: 700 } },
      58,
    ],
    ['when the clocks drift', { seconds: 120, video: { driftPpm: 400, jitterMs: 20 }, audio: { driftPpm: -400 } }, 118],
    [
      'when the clocks drift and nobody reports',
      {
        seconds: 120,
        video: { driftPpm: 200, reportEveryMs: undefined },
        audio: { driftPpm: -200, reportEveryMs: undefined },
      },
      118,
    ],
  ];
  it('throughout an hour of drift, loss, mutes and new numbers', async () => {
    const minute = 60 * SECOND;
    const jumpsAtMs = [7.01 * minute, 22.51 * minute, 41.21 * minute];
    const { p99Ms, pairs, durationMs } = await record('hour', {
      seconds: 3_600,
      video: {
        driftPpm: 120,
        jitterMs: 30,
        delayMs: 80,
        loss: 0.001,
        jumpsAtMs,
        firstTimestamp: 2 ** 32 - 90_000 * 600,
      },
      audio: { driftPpm: -80, jitterMs: 20, loss: 0.01, jumpsAtMs, silent: [[10.01 * minute, 20.01 * minute]] },
    });
    expect(p99Ms).toBeLessThanOrEqual(MAX_SKEW_MS);
    expect(pairs).toBeGreaterThan(2_400);
    expect(Math.abs(durationMs - 3_600 * SECOND)).toBeLessThan(200);
  });

  it('of two cameras and their sound, one of which is slower, drifts and pauses', async () => {
    const { file, flashes, p99Ms, pairs } = await record('two-cameras', {
      seconds: 60,
      video: { firstReportMs: 500 },
      secondVideo: {
        ...{ delayMs: 200, jitterMs: 40, driftPpm: 200, firstReportMs: 300, firstTimestamp: 2 ** 32 - 900_000 },
        silent: [[20_510, 27_530]],
      },
    });
    expect(p99Ms).toBeLessThanOrEqual(MAX_SKEW_MS);
    expect(pairs).toBeGreaterThanOrEqual(58);
    const second = await flashesAndBeeps(file, 1);
    for (const moments of [second.beeps, flashes]) {
      const skews = skewsOf({ flashes: second.flashes, beeps: moments });
      expect(p99(skews)).toBeLessThanOrEqual(MAX_SKEW_MS);
      expect(skews.length).toBeGreaterThanOrEqual(50);
    }
  });

  it.each(scenarios)('%s', async (name, scenario, leastPairs) => {
    const { p99Ms, pairs, durationMs } = await record(name.replaceAll(/\W/g, '-'), scenario);
    expect(p99Ms).toBeLessThanOrEqual(MAX_SKEW_MS);
    expect(pairs).toBeGreaterThanOrEqual(leastPairs);
    expect(durationMs).toBeLessThanOrEqual(scenario.seconds * SECOND + 200);
  });
});
