import { setTimeout as sleep } from 'node:timers/promises';
import { startBrowser } from '../src/browser.js';
import { startSite } from '../src/site.js';
import type { Benchmark } from './benchmark.js';
import { ChildProgram } from './child-program.js';
import { mediaProcesses } from './platform.js';
import { cpuMs, CpuWindow, type CpuClocks } from './process-usage.js';
import type { RawMediasoupReady } from './raw-mediasoup.js';
import { median, sum } from './samples.js';
import type { Table } from './table.js';
import { ClientsPage, type Reception } from './wcs-clients.js';

const BITRATE_KBPS = 2_200;

/** A server of the stream. The processes that carry media are counted separately from those that don't. */
interface Server {
  name: string;
  wsUrl: string;
  control: CpuClocks;
  workers: () => number;
}

/** One period in which a stream was watched. Processor times are in milliseconds per second. */
interface Watched {
  elapsedMs: number;
  control: Record<string, number>;
  workers: number;
  /** One for each player. */
  received: Reception[];
}

export const controlCpu: Benchmark = {
  name: 'control-cpu',
  async run({ platform, short, log }) {
    const { playerCount, rounds, windowMs, settleMs } = short
      ? { playerCount: 2, rounds: 1, windowMs: 2_000, settleMs: 500 }
      : { playerCount: 20, rounds: 3, windowMs: 60_000, settleMs: 5_000 };
    const site = await startSite();
    const browser = await startBrowser();
    const raw = await ChildProgram.start<RawMediasoupReady>('raw-mediasoup');
    try {
      const context = await browser.newContext();
      const openPage = async () => {
        const page = await context.newPage();
        await page.goto(site.url);
        return ClientsPage.install(page);
      };
      const pages = { publisher: await openPage(), players: await openPage() };
      const { control, workers } = await mediaProcesses(platform);
      const weir: Server = {
        name: 'weir',
        wsUrl: platform.httpUrl.replace('http:', 'ws:'),
        control,
        workers: () => sum(workers.map(cpuMs)),
      };
      const baseline: Server = {
        name: 'raw mediasoup',
        wsUrl: `ws://127.0.0.1:${raw.ready.port}`,
        control: { node: () => cpuMs(raw.pid) },
        workers: () => cpuMs(raw.ready.workerPid),
      };
      const servers = [weir, baseline];
      const idle = await cpuOf(weir, windowMs / 4);
      const watched = new Map<string, Watched[]>(servers.map(({ name }) => [name, []]));
      for (let round = 0; round < rounds; round++)
        for (const server of round % 2 === 0 ? servers : servers.toReversed()) {
          const name = `bench-${round}`;
          await pages.publisher.publish(server.wsUrl, name, BITRATE_KBPS);
          for (let player = 0; player < playerCount; player++) await pages.players.play(server.wsUrl, name);
          await sleep(settleMs);
          watched.get(server.name)?.push(await watch(server, pages.players, windowMs));
          log(`round ${round + 1} of ${rounds}: ${server.name} measured`);
          await pages.players.closeAll();
          await pages.publisher.closeAll();
          await sleep(settleMs);
        }
      return {
        tables: [shares(watched), processes(idle, watched.get('weir') ?? [])],
        figures: { playerCount, windowMs, bitrateKbps: BITRATE_KBPS, idle, watched: Object.fromEntries(watched) },
      };
    } finally {
      await raw.stop();
      await browser.close();
      await site.close();
    }
  },
};

async function cpuOf({ control, workers }: Server, windowMs: number): Promise<Record<string, number>> {
  const window = new CpuWindow({ ...control, workers });
  await sleep(windowMs);
  return window.end().msPerS;
}

async function watch({ control, workers }: Server, players: ClientsPage, windowMs: number): Promise<Watched> {
  const before = await players.received();
  const window = new CpuWindow({ ...control, workers });
  await sleep(windowMs);
  const { elapsedMs, msPerS } = window.end();
  const after = await players.received();
  const { workers: workersMsPerS = NaN, ...controlMsPerS } = msPerS;
  const received = after.map((now, index) => difference(now, before[index]));
  return { elapsedMs, control: controlMsPerS, workers: workersMsPerS, received };
}

const difference = (now: Reception, before: Reception | undefined): Reception => ({
  bytes: now.bytes - (before?.bytes ?? 0),
  packets: now.packets - (before?.packets ?? 0),
  lostPackets: now.lostPackets - (before?.lostPackets ?? 0),
  framesDecoded: now.framesDecoded - (before?.framesDecoded ?? 0),
  keyFramesDecoded: now.keyFramesDecoded - (before?.keyFramesDecoded ?? 0),
});

const controlMsPerS = ({ control }: Watched) => sum(Object.values(control));
const deliveredMbps = ({ received, elapsedMs }: Watched) =>
  (sum(received.map(({ bytes }) => bytes)) * 8) / elapsedMs / 1_000;

function shares(watched: ReadonlyMap<string, readonly Watched[]>): Table {
  return {
    title: 'Processor time while one stream is watched, medians over the rounds',
    columns: [
      '',
      'players',
      'Mbit/s each',
      'least',
      'control ms/s',
      'workers ms/s',
      'control / workers',
      'lowest',
      'highest',
      'worker ms/s a player',
      'worker ms/s a Mbit/s',
    ],
    rows: [...watched].map(([server, rounds]) => {
      const middle = (value: (round: Watched) => number) => median(rounds.map(value));
      const share = (round: Watched) => controlMsPerS(round) / round.workers;
      const mbps = (round: Watched) => round.received.map(({ bytes }) => (bytes * 8) / round.elapsedMs / 1_000);
      return [
        server,
        middle(({ received }) => received.length),
        middle((round) => median(mbps(round))),
        Math.min(...rounds.flatMap(mbps)),
        middle(controlMsPerS),
        middle(({ workers }) => workers),
        middle(share),
        Math.min(...rounds.map(share)),
        Math.max(...rounds.map(share)),
        middle(({ workers, received }) => workers / received.length),
        middle((round) => round.workers / deliveredMbps(round)),
      ];
    }),
    note: '1000 ms/s is one core. Control: every process of the server except the media workers. Lowest and highest of the rounds.',
  };
}

function processes(idle: Record<string, number>, rounds: readonly Watched[]): Table {
  const of = (name: string) => median(rounds.map(({ control, workers }) => control[name] ?? workers));
  return {
    title: "weir's processes, ms/s",
    columns: ['', 'nobody connected', 'watched'],
    rows: Object.keys(idle).map((name) => [name === 'media' ? 'media (Node)' : name, idle[name] ?? NaN, of(name)]),
  };
}
