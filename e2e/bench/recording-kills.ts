import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor } from '@weir/testing';
import { ChildProgram } from './child-program.js';
import { ageMs, CLOCK_BITS, CLOCK_BLOCK_PIXELS, readClock } from './picture-clock.js';
import type { BenchPlatform } from './platform.js';
import type { RecordingsClient } from './recordings-client.js';
import { RtspPushes } from './rtsp-pushes.js';

const STREAM = 'bench-recording-clock';
const WIDTH = CLOCK_BITS * CLOCK_BLOCK_PIXELS;

export interface KillsOptions {
  readonly recordings: number;
  readonly kills: number;
  /** A kill comes at a random moment within this time. */
  readonly withinMs: number;
  log(line: string): void;
}

/** What one recording lost at one kill, by the clock that the camera has drawn into its pictures. */
export interface Loss {
  /** How old the last picture before the kill was when the kill came. */
  readonly lostMs: number;
  /** From the kill to the first picture after it. */
  readonly backAfterMs: number;
}

/** Kills the recorder again and again while it records one stream several times, and looks into the finished files. */
export async function killRecorder(
  platform: BenchPlatform,
  client: RecordingsClient,
  { recordings, kills, withinMs, log }: KillsOptions,
): Promise<Loss[]> {
  const pushes = await RtspPushes.connect(platform);
  let camera: ChildProgram<unknown> | undefined;
  try {
    camera = await ChildProgram.start('clock-source', [`[f=rtsp:rtsp_transport=tcp]${await pushes.expect(STREAM)}`]);
    const ids: string[] = [];
    await waitFor(async () => ids.push(await client.start(STREAM)), { timeoutMs: 30_000, what: 'the clock’s stream' });
    while (ids.length < recordings) ids.push(await client.start(STREAM));
    const killedAtMs: number[] = [];
    for (let kill = 1; kill <= kills; kill++) {
      await client.untilWritten(ids);
      await sleep(Math.random() * withinMs);
      const pid = await platform.pidOf('recording');
      killedAtMs.push(Date.now());
      process.kill(pid, 'SIGKILL');
      await waitFor(async () => (await platform.pidOf('recording')) !== pid, {
        ...{ timeoutMs: 60_000, what: 'the recorder’s restart' },
      });
      log(`kill ${kill} of ${kills}`);
    }
    await client.untilWritten(ids);
    const losses: Loss[] = [];
    for (const id of ids) {
      await client.stop(id);
      await client.until('finished', id);
      const clocks = await clocksIn(await client.fileUrl(id));
      losses.push(...killedAtMs.map((atMs) => lossAt(clocks, atMs)));
      await client.remove(id);
    }
    return losses;
  } finally {
    await camera?.stop();
    await pushes.close();
  }
}

function lossAt(clocks: readonly number[], killedAtMs: number): Loss {
  const ages = clocks.map((clock) => ageMs(clock, killedAtMs));
  const before = ages.filter((age) => age >= 0);
  const after = ages.filter((age) => age < 0);
  if (before.length === 0 || after.length === 0) throw new Error('a recording has no picture before or after a kill');
  return { lostMs: Math.min(...before), backAfterMs: -Math.max(...after) };
}

/** Decodes a file. @returns the clocks of its pictures */
async function clocksIn(url: string): Promise<number[]> {
  // In other formats the height would be rounded to an even number.
  const line = `format=gray,crop=${WIDTH}:1:0:${CLOCK_BLOCK_PIXELS / 2}`;
  const child = spawn(
    process.env['FFMPEG_BIN'] ?? 'ffmpeg',
    [
      ...['-hide_banner', '-nostdin', '-loglevel', 'error', '-i', url, '-map', '0:v', '-vf', line],
      ...['-fps_mode', 'passthrough', '-f', 'rawvideo', '-pix_fmt', 'gray', 'pipe:1'],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const exited = once(child, 'exit');
  const chunks: Buffer[] = [];
  for await (const chunk of child.stdout) chunks.push(chunk as Buffer);
  const [status] = (await exited) as [number | null];
  if (status !== 0) throw new Error(`ffmpeg could not decode a recording: ${String(status)}`);
  const lines = Buffer.concat(chunks);
  return Array.from({ length: lines.length / WIDTH }, (_line, index) => clockOf(lines, index * WIDTH)).filter(
    (clock) => clock !== undefined,
  );
}

const clockOf = (lines: Buffer, start: number): number | undefined =>
  readClock(
    Array.from({ length: CLOCK_BITS }, (_bit, block) => (lines[start + (block + 0.5) * CLOCK_BLOCK_PIXELS] ?? 0) > 127),
  );
