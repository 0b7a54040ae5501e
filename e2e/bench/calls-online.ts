import { setTimeout as sleep } from 'node:timers/promises';
import type { BareDevicesReady } from './bare-devices.js';
import type { BenchmarkContext, BenchmarkResult } from './benchmark.js';
import { CallApp } from './call-app.js';
import { ChildProgram } from './child-program.js';
import { DeviceCrowd } from './device-crowd.js';
import { checkOpenFiles, cpuMs, CpuWindow, listenPort, rssBytes, treeCpuMs, type CpuClocks } from './process-usage.js';
import { median, sum } from './samples.js';

const SERVERS = ['call-broker', 'bare ws'] as const;
type Server = (typeof SERVERS)[number];

interface Place {
  readonly urlOf: (index: number) => string;
  /** The process that has the sockets. */
  readonly pid: number;
  readonly clocks: CpuClocks;
  stop(): Promise<void>;
}

interface Round {
  readonly openedPerS: number;
  readonly rssBytesBefore: number;
  readonly rssBytesAfter: number;
  readonly idleMsPerS: Record<string, number>;
  readonly churnMsPerS: Record<string, number>;
  readonly churnedPerS: number;
  readonly lost: number;
}

/** Devices that are online at one process, idle and while some of them go and come. */
export const devicesOnline = async (context: BenchmarkContext): Promise<BenchmarkResult> => {
  const { count, rounds, idleMs, churnPerS, churnMs } = context.short
    ? { count: 100, rounds: 1, idleMs: 1_000, churnPerS: 20, churnMs: 1_000 }
    : { count: 10_000, rounds: 2, idleMs: 30_000, churnPerS: 50, churnMs: 20_000 };
  checkOpenFiles(count + 500);
  const app = await CallApp.create(context.platform, count);
  const measured: Record<Server, Round[]> = { 'call-broker': [], 'bare ws': [] };
  try {
    for (let round = 0; round < rounds; round++)
      for (const server of SERVERS) {
        const place = server === 'call-broker' ? await broker(context, app) : await bareWs(context);
        const crowd = new DeviceCrowd(count, place.urlOf);
        try {
          measured[server].push(await measure(place, crowd, { idleMs, churnPerS, churnMs }));
        } finally {
          await crowd.close();
          await place.stop();
        }
        context.log(`round ${round + 1} of ${rounds}: ${count} devices at ${server} measured`);
      }
  } finally {
    await app.remove();
  }
  return {
    tables: [table(measured, count, churnPerS)],
    figures: { count, idleMs, churnPerS, churnMs, measured },
  };
};

async function broker({ platform }: BenchmarkContext, app: CallApp): Promise<Place> {
  await platform.restart(['call-broker']);
  const [pid, redis, nats, postgres] = await Promise.all([
    platform.pidOf('call-broker'),
    platform.pidOf('redis'),
    platform.pidOf('nats'),
    platform.pidOf('postgres'),
  ]);
  const wsUrl = `ws://127.0.0.1:${listenPort(pid)}`;
  return {
    urlOf: (index) => wsUrl + app.channelOf(index),
    pid,
    clocks: {
      'call-broker': () => cpuMs(pid),
      redis: () => treeCpuMs(redis),
      nats: () => treeCpuMs(nats),
      postgres: () => treeCpuMs(postgres),
    },
    stop: () => Promise.resolve(),
  };
}

async function bareWs({ platform }: BenchmarkContext): Promise<Place> {
  const program = await ChildProgram.start<BareDevicesReady>('bare-devices', [platform.natsUrl]);
  return {
    urlOf: (index) => `ws://127.0.0.1:${program.ready.port}/?cid=${index}`,
    pid: program.pid,
    clocks: { 'bare ws': () => cpuMs(program.pid) },
    stop: () => program.stop(),
  };
}

async function measure(
  { pid, clocks }: Place,
  crowd: DeviceCrowd,
  { idleMs, churnPerS, churnMs }: { readonly idleMs: number; readonly churnPerS: number; readonly churnMs: number },
): Promise<Round> {
  const rssBytesBefore = rssBytes(pid);
  const openedPerS = await crowd.open();
  const idling = new CpuWindow(clocks);
  await sleep(idleMs);
  const idle = idling.end();
  const rssBytesAfter = rssBytes(pid);
  const churning = new CpuWindow(clocks);
  const churned = await crowd.churn(churnPerS, churnMs);
  const churn = churning.end();
  return {
    ...{ openedPerS, rssBytesBefore, rssBytesAfter },
    idleMsPerS: idle.msPerS,
    churnMsPerS: churn.msPerS,
    churnedPerS: (churned * 1_000) / churn.elapsedMs,
    lost: crowd.lost,
  };
}

const MIB = 2 ** 20;

function table(measured: Readonly<Record<Server, readonly Round[]>>, count: number, churnPerS: number) {
  return {
    title: `${count.toLocaleString('en-US')} devices online at one process; medians over the rounds`,
    columns: [
      ...['', 'opened/s', 'MiB before', 'MiB with all', 'KiB a device', 'idle ms/s'],
      ...[`ms/s at ${churnPerS} changes/s`, 'ms a change', 'lost'],
    ],
    rows: SERVERS.flatMap((server) => {
      const rounds = measured[server];
      const middle = (value: (round: Round) => number) => median(rounds.map(value));
      const names = Object.keys(rounds[0]?.idleMsPerS ?? {});
      return names.map((name) => {
        const idle = middle(({ idleMsPerS }) => idleMsPerS[name] ?? NaN);
        const churn = middle(({ churnMsPerS }) => churnMsPerS[name] ?? NaN);
        const aChange = (churn - idle) / middle(({ churnedPerS }) => churnedPerS);
        if (name !== server) return [name, '', '', '', '', idle, churn, aChange, ''];
        const before = middle(({ rssBytesBefore }) => rssBytesBefore);
        const after = middle(({ rssBytesAfter }) => rssBytesAfter);
        return [
          ...[name, Math.round(middle(({ openedPerS }) => openedPerS)), before / MIB, after / MIB],
          ...[(after - before) / 1_024 / count, idle, churn, aChange, sum(rounds.map(({ lost }) => lost))],
        ];
      });
    }),
    note: 'A change is a device that goes and comes again. The bare server checks no token, knows no presence and stores nothing. 1000 ms/s is one core.',
  };
}
