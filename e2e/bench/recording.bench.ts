import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Benchmark } from './benchmark.js';
import { logIn } from './demo-user.js';
import { costOf, ingestCost, RECORDERS, type Cost, type RecorderKind, type TestBed } from './recording-cost.js';
import { timeDeliveries, type Delivered } from './recording-delivery.js';
import { killRecorder, type Loss } from './recording-kills.js';
import { RecordingsClient } from './recordings-client.js';
import { RtspCameras } from './rtsp-cameras.js';
import { median, summarize } from './samples.js';
import type { Table } from './table.js';

const WEIR = 'weir: recording' satisfies RecorderKind;
const BASELINE = 'ffmpeg -c copy, fragmented MP4' satisfies RecorderKind;
const FLOOR = 'bare UDP sockets in Node, nothing recorded' satisfies RecorderKind;
const KINDS = Object.keys(RECORDERS) as RecorderKind[];
const MEBIBYTE = 2 ** 20;

/** The costs of this many recordings at the same time. */
interface Load {
  readonly recordings: number;
  /** What the media service costs without them, in each round. */
  readonly ingest: number[];
  readonly measured: Record<RecorderKind, Cost[]>;
}

export const recording: Benchmark = {
  name: 'recording',
  async run({ platform, short, log }) {
    const { loads, streamCount, rounds, filmS, deliveries, kills, pollMs, ...window } = short
      ? {
          ...{ loads: [2], streamCount: 1, rounds: 1, filmS: 4, settleMs: 200, windowMs: 1_500, pollMs: 200 },
          ...{ deliveries: { count: 2, lengthMs: 0 }, kills: { recordings: 2, kills: 1, withinMs: 500 } },
        }
      : {
          ...{ loads: [20, 60], streamCount: 4, rounds: 3, filmS: 30, settleMs: 5_000, windowMs: 20_000, pollMs: 20 },
          ...{ deliveries: { count: 50, lengthMs: 10_000 }, kills: { recordings: 5, kills: 20, withinMs: 3_000 } },
        };
    const folder = await mkdtemp(join(tmpdir(), 'weir-bench-recording-'));
    let cameras: RtspCameras | undefined;
    try {
      const streams = Array.from({ length: streamCount }, (_stream, index) => `bench-recorded-${index}`);
      cameras = await RtspCameras.start(platform, { streams, folder, filmS });
      const client = new RecordingsClient(platform, pollMs);
      const bed: TestBed = { platform, client, token: await logIn(platform), streams, folder };
      const costs: Load[] = [];
      for (const recordings of loads) {
        const load: Load = {
          ...{ recordings, ingest: [] },
          measured: { [WEIR]: [], [BASELINE]: [], [FLOOR]: [] },
        };
        for (let round = 0; round < rounds; round++) {
          load.ingest.push(await ingestCost(bed, window));
          for (const kind of round % 2 === 0 ? KINDS : KINDS.toReversed()) {
            load.measured[kind].push(await costOf(kind, bed, recordings, window));
            log(`round ${round + 1} of ${rounds}: ${recordings} times ${kind} measured`);
          }
          cameras.demandAlive();
        }
        costs.push(load);
      }
      const delivered = {
        put: await timeDeliveries(bed, 'put', deliveries),
        folder: await timeDeliveries(bed, 'folder', deliveries),
      };
      log('deliveries measured');
      await cameras.stop();
      cameras = undefined;
      const losses = await killRecorder(platform, client, { ...kills, log });
      return {
        tables: [...costs.map(costTable), startTable(costs), deliveryTable(delivered), lossTable(losses, kills)],
        figures: { streamCount, ...window, costs, delivered, kills, losses },
      };
    } finally {
      await cameras?.stop();
      await rm(folder, { recursive: true, force: true });
    }
  },
};

function costTable({ recordings, ingest, measured }: Load): Table {
  const middle = (kind: RecorderKind, value: (one: Cost) => number) => median(measured[kind].map(value)) / recordings;
  const taking = median(ingest);
  const own = (kind: RecorderKind) => middle(kind, (one) => one.recording);
  const memory = (kind: RecorderKind) => middle(kind, (one) => one.peakBytes) / MEBIBYTE;
  const handing = (kind: RecorderKind) => middle(kind, (one) => one.media - taking);
  const together = (kind: RecorderKind) => own(kind) + handing(kind);
  return {
    title: `${recordings} recordings at the same time: processor time, ms/s a recording, and memory; medians of the rounds`,
    columns: [
      ...['', 'recording', 'lowest', 'highest', '/ ffmpeg', 'memory, MiB', '/ ffmpeg'],
      ...['media, handing over', 'together', '/ ffmpeg'],
    ],
    rows: [
      ...KINDS.map((kind) => {
        const each = measured[kind].map((one) => one.recording / recordings);
        return [
          ...[kind, own(kind), Math.min(...each), Math.max(...each), own(kind) / own(BASELINE)],
          ...[memory(kind), memory(kind) / memory(BASELINE)],
          ...[handing(kind), together(kind), together(kind) / together(BASELINE)],
        ];
      }),
      [
        ...['in addition: weir finishes the files, ms for each recorded second', middleOf(measured[WEIR])],
        ...['', '', '', '', '', '', '', ''],
      ],
      ['in addition: media receives the streams, ms/s', '', '', '', '', '', '', taking, '', ''],
    ],
    note:
      '1000 ms/s is one core. The streams, 720p at 30/s with 2 Mbit/s H.264 and AAC, are pushed to weir by RTSP. Weir records ' +
      'them from a tap, in one process, and syncs each file about once a second; one ffmpeg for each recording takes its stream ' +
      'from weir by RTSP and syncs nothing. The bare sockets, in one process too, get the same packets as weir from the same tap ' +
      'and drop them: no recorder in Node can take less. Memory is the highest proportional share (PSS) of all recorders, the processes ' +
      'themselves included. Media are its Node process and its workers.',
  };
}

const middleOf = (costs: readonly Cost[]): number => median(costs.map(({ finishing }) => finishing));

const startTable = (costs: readonly Load[]): Table => ({
  title: 'From the request to record until its answer, ms',
  columns: ['', 'starts', 'p50', 'p99', 'highest'],
  rows: costs.map(({ recordings, measured }) => {
    const { count, p50, p99, max } = summarize(measured[WEIR].flatMap(({ startMs }) => startMs));
    return [`up to ${recordings} recordings, one after another`, count, p50, p99, max];
  }),
});

const deliveryTable = (delivered: Readonly<Record<'put' | 'folder', readonly Delivered[]>>): Table => ({
  title: 'From the request to stop until the file is delivered, ms',
  columns: ['', 'files', 'p50', 'p99', 'highest', 'MiB a file'],
  rows: (['put', 'folder'] as const).map((kind) => {
    const { count, p50, p99, max } = summarize(delivered[kind].map(({ ms }) => ms));
    return [kind, count, p50, p99, max, median(delivered[kind].map(({ sizeBytes }) => sizeBytes)) / MEBIBYTE];
  }),
  note:
    'PUT: until the receiver has the whole file. Folder: until the recording says so, which is asked again and again. The ' +
    'other recordings go on meanwhile.',
});

const lossTable = (losses: readonly Loss[], { recordings, kills }: { recordings: number; kills: number }): Table => ({
  title: 'kill -9 of the recorder, ms',
  columns: ['', 'p50', 'p99', 'highest'],
  rows: (
    [
      ['missing before the kill', ({ lostMs }) => lostMs],
      ['from the kill to the first picture after it', ({ backAfterMs }) => backAfterMs],
    ] as const satisfies [string, (loss: Loss) => number][]
  ).map(([name, value]) => {
    const { p50, p99, max } = summarize(losses.map(value));
    return [name, p50, p99, max];
  }),
  note:
    `${kills} kills at random moments under ${recordings} recordings of one camera. By the clock in its pictures, so the way from ` +
    'the camera to the recorder counts as missing, too.',
});
