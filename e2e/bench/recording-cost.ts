import { randomUUID } from 'node:crypto';
import { mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
// eslint-disable-next-line @nx/enforce-module-boundaries -- streams are tapped as the platform's services do it
import { Media, MediaRtp } from '@weir/contracts';
import { waitFor } from '@weir/testing';
import type { BareReceiverReady } from './bare-receiver.js';
import { ChildProgram } from './child-program.js';
import { DEMO_TENANT, playUrlOf } from './demo-user.js';
import { FfmpegProcess } from './ffmpeg-process.js';
import type { BenchPlatform } from './platform.js';
import { CpuWindow, cpuMs, pssBytes, treeCpuMs } from './process-usage.js';
import type { RecordingsClient } from './recordings-client.js';
import { sum } from './samples.js';
import { StandInService } from './stand-in-service.js';

const MEMORY_INTERVAL_MS = 500;
/** Enough for the file's head and some media. */
const LEAST_BYTES = 64 * 1024;

export const RECORDERS = {
  'weir: recording': recordByWeir,
  'ffmpeg -c copy, fragmented MP4': recordByFfmpeg,
  'bare UDP sockets in Node, nothing recorded': receiveByNode,
} as const satisfies Record<string, (bed: TestBed, count: number) => Promise<Recorders>>;
export type RecorderKind = keyof typeof RECORDERS;

/** The streams that are being pushed, for the recorders. */
export interface TestBed {
  readonly platform: BenchPlatform;
  readonly client: RecordingsClient;
  readonly token: string;
  readonly streams: readonly string[];
  readonly folder: string;
}

/** Recordings in progress. */
interface Recorders {
  readonly pids: readonly number[];
  /** How long each start took, from the request to its answer. */
  readonly startMs: readonly number[];
  /** Resolves when each of them has something in its file. */
  untilWritten(): Promise<void>;
  /** @returns how many ms were recorded, if the files are finished only now */
  stop(): Promise<number | undefined>;
}

/** The cost of all recordings together. */
export interface Cost {
  readonly elapsedMs: number;
  /** Processor milliseconds per second. */
  readonly recording: number;
  /** Media's Node process and its workers, which receive the streams and pass them on. */
  readonly media: number;
  /** The most memory that the recorders had in RAM during the window. */
  readonly peakBytes: number;
  /** Processor milliseconds for each recorded second, after the end, to make the files seekable. */
  readonly finishing: number;
  readonly startMs: readonly number[];
}

export interface CostWindow {
  readonly settleMs: number;
  readonly windowMs: number;
}

/** What the media service costs while nobody records. */
export async function ingestCost({ platform }: TestBed, { settleMs, windowMs }: CostWindow): Promise<number> {
  const mediaPid = await platform.pidOf('media');
  await sleep(settleMs);
  const window = new CpuWindow({ media: () => treeCpuMs(mediaPid) });
  await sleep(windowMs);
  return window.end().msPerS['media'] ?? NaN;
}

export async function costOf(
  kind: RecorderKind,
  bed: TestBed,
  count: number,
  { settleMs, windowMs }: CostWindow,
): Promise<Cost> {
  const mediaPid = await bed.platform.pidOf('media');
  const { pids, startMs, untilWritten, stop } = await RECORDERS[kind](bed, count);
  let isStopped = false;
  try {
    await untilWritten();
    await sleep(settleMs);
    let peakBytes = 0;
    const look = () => {
      peakBytes = Math.max(peakBytes, sum(pids.map(pssBytes)));
    };
    const window = new CpuWindow({ recording: () => sum(pids.map(cpuMs)), media: () => treeCpuMs(mediaPid) });
    const timer = setInterval(look, MEMORY_INTERVAL_MS);
    await sleep(windowMs);
    clearInterval(timer);
    look();
    const { elapsedMs, msPerS } = window.end();
    const beforeMs = sum(pids.map(cpuMs));
    isStopped = true;
    const recordedMs = await stop();
    const finishing = recordedMs === undefined ? 0 : ((sum(pids.map(cpuMs)) - beforeMs) * 1_000) / recordedMs;
    return {
      ...{ elapsedMs, peakBytes, finishing, startMs },
      ...{ recording: msPerS['recording'] ?? NaN, media: msPerS['media'] ?? NaN },
    };
  } finally {
    if (!isStopped) await stop();
  }
}

const streamAt = ({ streams }: TestBed, index: number): string => streams[index % streams.length] ?? '';

async function recordByWeir(bed: TestBed, count: number): Promise<Recorders> {
  const { platform, client } = bed;
  // So that its memory belongs to these recordings.
  await platform.restart(['recording']);
  await client.untilReady();
  const ids: string[] = [];
  const startMs: number[] = [];
  for (let index = 0; index < count; index++) {
    const startedMs = performance.now();
    ids.push(await client.start(streamAt(bed, index)));
    startMs.push(performance.now() - startedMs);
  }
  return {
    ...{ pids: [await platform.pidOf('recording')], startMs },
    untilWritten: () => client.untilWritten(ids),
    stop: () => client.discard(ids),
  };
}

async function recordByFfmpeg(bed: TestBed, count: number): Promise<Recorders> {
  const folder = join(bed.folder, 'by-ffmpeg');
  await mkdir(folder, { recursive: true });
  const files = Array.from({ length: count }, (_file, index) => join(folder, `${index}.mp4`));
  const processes = files.map((file, index) =>
    FfmpegProcess.start([
      ...['-rtsp_transport', 'tcp', '-i', playUrlOf(bed.platform, streamAt(bed, index), bed.token)],
      ...['-c', 'copy', '-movflags', '+frag_keyframe+empty_moov+default_base_moof', '-f', 'mp4', '-y', file],
    ]),
  );
  const hasMedia = async (file: string) => ((await stat(file).catch(() => undefined))?.size ?? 0) > LEAST_BYTES;
  return {
    ...{ pids: processes.map(({ pid }) => pid), startMs: [] },
    untilWritten: async () => {
      const all = async () => (await Promise.all(files.map(hasMedia))).every(Boolean);
      await waitFor(all, { timeoutMs: 120_000, intervalMs: 200, what: 'media in every file of ffmpeg' });
      if (processes.some(({ hasEnded }) => hasEnded)) throw new Error('an ffmpeg that records has ended');
    },
    stop: async () => {
      await Promise.all(processes.map((process) => process.stop()));
      await rm(folder, { recursive: true, force: true });
      return undefined;
    },
  };
}

/** Taps the streams as weir's recorder does, and drops the packets. */
async function receiveByNode(bed: TestBed, count: number): Promise<Recorders> {
  const service = await StandInService.connect(bed.platform);
  let receiver: ChildProgram<BareReceiverReady> | undefined;
  const sessions: { nodeId: string; sessionId: string }[] = [];
  const stop = async () => {
    await Promise.allSettled(sessions.map((session) => service.bus.call(Media.method.closeSession, session)));
    await receiver?.stop();
    await service.close();
    return undefined;
  };
  try {
    receiver = await ChildProgram.start<BareReceiverReady>('bare-receiver', [String(2 * count)]);
    const { pid, ready } = receiver;
    const addressOf = (socket: number) => ({ ip: '127.0.0.1', port: ready.ports[socket] ?? 0 });
    for (let index = 0; index < count; index++) {
      const stream = { tenant: DEMO_TENANT, streamName: streamAt(bed, index) };
      const { streams } = await service.bus.call(Media.method.findStreams, stream);
      const session = { nodeId: streams[0]?.nodeId ?? '', sessionId: `bench-${randomUUID()}` };
      await service.bus.call(MediaRtp.method.tap, {
        ...{ ...stream, ...session, ownerId: service.bus.instanceId },
        ...{ audio: addressOf(2 * index), video: addressOf(2 * index + 1) },
      });
      sessions.push(session);
    }
    return { ...{ pids: [pid], startMs: [] }, untilWritten: () => Promise.resolve(), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
