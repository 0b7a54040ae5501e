import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor } from '@weir/testing';
import { z } from 'zod';
import type { Benchmark } from './benchmark.js';
import { logIn, playUrlOf } from './demo-user.js';
import { FfmpegProcess } from './ffmpeg-process.js';
import type { BenchPlatform } from './platform.js';
import { cpuMs, CpuWindow } from './process-usage.js';
import { RtspCameras } from './rtsp-cameras.js';
import { median, sum } from './samples.js';
import type { Table } from './table.js';

/** Shorter than half a minute, after which a stream that nobody asks for is no longer packaged. */
const ASK_INTERVAL_MS = 10_000;
const LEAST_SEGMENTS = 1;

const KINDS = {
  'weir: hls-packager': packageByWeir,
  'ffmpeg -c copy -f hls, fMP4': (bed) => remuxByFfmpeg(bed, ['-hls_segment_type', 'fmp4', '-hls_time', '1']),
  'ffmpeg -c copy -f hls, MPEG-TS': (bed) => remuxByFfmpeg(bed, ['-hls_time', '1']),
} as const satisfies Record<string, (bed: TestBed) => Promise<Packaging>>;
type Kind = keyof typeof KINDS;
const WEIR: Kind = 'weir: hls-packager';
const BASELINE: Kind = 'ffmpeg -c copy -f hls, fMP4';

/** The streams that are being pushed, for the packagers. */
interface TestBed {
  platform: BenchPlatform;
  token: string;
  streams: readonly string[];
  folder: string;
}

/** All streams while one server packages them. */
interface Packaging {
  pids: readonly number[];
  /** How many of the streams have segments to fetch. */
  flowing(): Promise<number>;
  stop(): Promise<void>;
}

/** Processor time of all streams together, in milliseconds per second. */
interface Measured {
  elapsedMs: number;
  packaging: number;
  /** Media's Node process, which receives the streams and passes them on. */
  media: number;
  flowing: number;
}

export const packagingCpu: Benchmark = {
  name: 'packaging-cpu',
  async run({ platform, short, log }) {
    const { streamCount, rounds, windowMs, settleMs, sourceS } = short
      ? { streamCount: 2, rounds: 1, windowMs: 1_500, settleMs: 200, sourceS: 4 }
      : { streamCount: 20, rounds: 3, windowMs: 30_000, settleMs: 5_000, sourceS: 30 };
    const folder = await mkdtemp(join(tmpdir(), 'weir-bench-packaging-'));
    let cameras: RtspCameras | undefined;
    try {
      const streams = Array.from({ length: streamCount }, (_stream, index) => `bench-camera-${index}`);
      cameras = await RtspCameras.start(platform, { streams, folder, filmS: sourceS });
      const bed: TestBed = { platform, token: await logIn(platform), streams, folder };
      const mediaPid = await platform.pidOf('media');
      const packagerPid = await platform.pidOf('hls-packager');
      const kinds = Object.keys(KINDS) as Kind[];
      const measured = new Map<Kind, Measured[]>(kinds.map((kind) => [kind, []]));
      const ingest: Measured[] = [];
      for (let round = 0; round < rounds; round++) {
        await sleep(settleMs);
        ingest.push(await measure([packagerPid], mediaPid, windowMs));
        for (const kind of round % 2 === 0 ? kinds : kinds.toReversed()) {
          const packaging = await KINDS[kind](bed);
          try {
            await waitFor(async () => (await packaging.flowing()) === streamCount, {
              timeoutMs: 60_000,
              intervalMs: 200,
              what: `${streamCount} streams by ${kind}`,
            });
            await sleep(settleMs);
            const result = await measure(packaging.pids, mediaPid, windowMs);
            measured.get(kind)?.push({ ...result, flowing: await packaging.flowing() });
          } finally {
            await packaging.stop();
          }
          log(`round ${round + 1} of ${rounds}: ${kind} measured`);
        }
        cameras.demandAlive();
      }
      return {
        tables: [perStream(measured, ingest, streamCount)],
        figures: { streamCount, windowMs, ingest, measured: Object.fromEntries(measured) },
      };
    } finally {
      await cameras?.stop();
      await rm(folder, { recursive: true, force: true });
    }
  },
};

async function measure(pids: readonly number[], mediaPid: number, windowMs: number): Promise<Measured> {
  const window = new CpuWindow({ packaging: () => sum(pids.map(cpuMs)), media: () => cpuMs(mediaPid) });
  await sleep(windowMs);
  const { elapsedMs, msPerS } = window.end();
  return { elapsedMs, packaging: msPerS['packaging'] ?? NaN, media: msPerS['media'] ?? NaN, flowing: 0 };
}

const listed = z.object({ ret: z.object({ streams: z.array(z.object({ stream: z.string(), state: z.string() })) }) });

async function packageByWeir({ platform, token, streams }: TestBed): Promise<Packaging> {
  const ask = async (path: string, init: RequestInit = {}) => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const response = await fetch(`${platform.httpUrl}${path}`, { ...init, headers });
    const text = await response.text();
    if (!response.ok) throw new Error(`${path} is answered with ${response.status} ${text}`);
    return text;
  };
  await Promise.all(streams.map((stream) => ask('/stream/', { method: 'POST', body: JSON.stringify({ stream }) })));
  const askAll = () => Promise.all(streams.map((stream) => ask(`/videos/~/${stream}/media.m3u8`)));
  await askAll();
  const timer = setInterval(() => void askAll().catch(() => undefined), ASK_INTERVAL_MS); // flowing() notices a failure
  return {
    pids: [await platform.pidOf('hls-packager')],
    flowing: async () => {
      const { ret } = listed.parse(JSON.parse(await ask('/stream/')));
      return ret.streams.filter(({ stream, state }) => streams.includes(stream) && state === 'flowing').length;
    },
    stop: async () => {
      clearInterval(timer);
      await Promise.all(
        streams.map((stream) =>
          fetch(`${platform.httpUrl}/stream/~/${stream}`, {
            method: 'DELETE',
            headers: { authorization: `Bearer ${token}` },
          }),
        ),
      );
    },
  };
}

async function remuxByFfmpeg(bed: TestBed, format: readonly string[]): Promise<Packaging> {
  const folderOf = (stream: string) => join(bed.folder, stream);
  const processes: FfmpegProcess[] = [];
  for (const stream of bed.streams) {
    await mkdir(folderOf(stream), { recursive: true });
    const input = ['-rtsp_transport', 'tcp', '-i', playUrlOf(bed.platform, stream, bed.token)];
    const window = ['-hls_list_size', '24', '-hls_flags', 'delete_segments'];
    const output = join(folderOf(stream), 'index.m3u8');
    processes.push(FfmpegProcess.start([...input, '-c', 'copy', '-f', 'hls', ...format, ...window, output]));
  }
  return {
    pids: processes.map(({ pid }) => pid),
    flowing: async () => {
      if (processes.some(({ hasEnded }) => hasEnded)) throw new Error('an ffmpeg that packages has ended');
      const playlists = await Promise.all(
        bed.streams.map((stream) => readFile(join(folderOf(stream), 'index.m3u8'), 'utf8').catch(() => '')),
      );
      return playlists.filter((text) => (text.match(/#EXTINF/g)?.length ?? 0) >= LEAST_SEGMENTS).length;
    },
    stop: async () => {
      await Promise.all(processes.map((process) => process.stop()));
      await Promise.all(bed.streams.map((stream) => rm(folderOf(stream), { recursive: true, force: true })));
    },
  };
}

function perStream(
  measured: ReadonlyMap<Kind, readonly Measured[]>,
  ingest: readonly Measured[],
  streamCount: number,
): Table {
  const middle = (rounds: readonly Measured[] | undefined, value: (one: Measured) => number) =>
    median((rounds ?? []).map(value)) / streamCount;
  const taking = middle(ingest, ({ media }) => media);
  const handing = (rounds: readonly Measured[] | undefined) => middle(rounds, ({ media }) => media) - taking;
  const baseline = measured.get(BASELINE);
  const baselinePackaging = middle(baseline, ({ packaging }) => packaging);
  const baselineTogether = baselinePackaging + handing(baseline);
  return {
    title: 'Processor time of packaging a stream as HLS, ms/s a stream, medians over the rounds',
    columns: [
      ...['', 'streams', 'packaging', 'lowest', 'highest', '/ baseline'],
      ...['media, handing over', 'together', '/ baseline'],
    ],
    rows: [
      ...[...measured].map(([kind, rounds]) => {
        const packaging = middle(rounds, (one) => one.packaging);
        const each = rounds.map((one) => one.packaging / streamCount);
        const together = packaging + handing(rounds);
        return [
          kind,
          Math.min(...rounds.map(({ flowing }) => flowing)),
          packaging,
          Math.min(...each),
          Math.max(...each),
          packaging / baselinePackaging,
          handing(rounds),
          together,
          together / baselineTogether,
        ];
      }),
      ['in addition: media receives the streams', streamCount, '', '', '', '', '', taking, ''],
    ],
    note:
      '1000 ms/s is one core. Streams of 720p at 30/s, 2 Mbit/s H.264 and AAC, are pushed to weir by RTSP. ' +
      `${WEIR} takes them from a tap and makes parts of 0.2 s and segments in memory; one ffmpeg per stream takes them over ` +
      'RTSP and writes files.',
  };
}
