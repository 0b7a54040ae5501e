import { setTimeout as sleep } from 'node:timers/promises';
import type { BareWsReady } from './bare-ws.js';
import type { Benchmark, BenchmarkContext } from './benchmark.js';
import { ChildProgram } from './child-program.js';
import { IdleSockets, type OpeningFigures } from './idle-sockets.js';
import { LoneGateway } from './lone-gateway.js';
import { checkOpenFiles, cpuMs, CpuWindow, listenPort, rssBytes } from './process-usage.js';
import { median, sum } from './samples.js';
import type { Table } from './table.js';

/** A server of idle sockets. It is restarted for each round, so that its memory belongs to this round. */
interface Server {
  wsUrl: string;
  /** The processes whose memory and processor time count, by name. */
  pids: Readonly<Record<string, number>>;
  stop(): Promise<void>;
}

const KINDS = {
  'weir: gateway, wcs-signalling': weir,
  'bare ws behind the gateway': bareWsBehindGateway,
  'wcs-signalling alone': signallingAlone,
  'bare ws alone': bareWs,
} as const satisfies Record<string, (context: BenchmarkContext) => Promise<Server>>;
type Kind = keyof typeof KINDS;
const BASELINE: Kind = 'bare ws alone';

interface Round {
  opening: OpeningFigures;
  /** The memory of each process. */
  rssBytesBefore: Record<string, number>;
  rssBytesAfter: Record<string, number>;
  idleMs: number;
  idleCpuMsPerS: Record<string, number>;
  /** How many pings were answered while idle. */
  pings: number;
  lost: number;
}

export const idleSessions: Benchmark = {
  name: 'idle-sessions',
  async run(context) {
    const { sessionCount, rounds, idleMs } = context.short
      ? { sessionCount: 200, rounds: 1, idleMs: 1_000 }
      : { sessionCount: 5_000, rounds: 3, idleMs: 30_000 };
    // The gateway holds two sockets for each session.
    checkOpenFiles(2 * sessionCount + 500);
    const kinds = Object.keys(KINDS) as Kind[];
    const measured = new Map<Kind, Round[]>(kinds.map((kind) => [kind, []]));
    for (let round = 0; round < rounds; round++)
      for (const kind of kinds) {
        const server = await KINDS[kind](context);
        try {
          measured.get(kind)?.push(await measure(server, sessionCount, idleMs));
        } finally {
          await server.stop();
        }
        context.log(`round ${round + 1} of ${rounds}: ${kind} measured`);
      }
    return {
      tables: [accepting(measured), memory(measured, sessionCount), idling(measured)],
      figures: { sessionCount, idleMs, measured: Object.fromEntries(measured) },
    };
  },
};

async function measure({ wsUrl, pids }: Server, count: number, idleMs: number): Promise<Round> {
  const sockets = new IdleSockets();
  try {
    const rssBytesBefore = perProcess(pids, rssBytes);
    const opening = await sockets.open(wsUrl, count);
    const pingsBefore = sockets.pings;
    const window = new CpuWindow(perProcess(pids, (pid) => () => cpuMs(pid)));
    await sleep(idleMs);
    const { elapsedMs, msPerS } = window.end();
    return {
      opening,
      rssBytesBefore,
      rssBytesAfter: perProcess(pids, rssBytes),
      idleMs: elapsedMs,
      idleCpuMsPerS: msPerS,
      pings: sockets.pings - pingsBefore,
      lost: sockets.lost,
    };
  } finally {
    await sockets.close();
  }
}

const perProcess = <Value>(pids: Readonly<Record<string, number>>, read: (pid: number) => Value) =>
  Object.fromEntries(Object.entries(pids).map(([name, pid]) => [name, read(pid)]));

async function weir({ platform }: BenchmarkContext): Promise<Server> {
  await platform.restart(['gateway', 'wcs-signalling']);
  return {
    wsUrl: platform.httpUrl.replace('http:', 'ws:'),
    pids: { gateway: await platform.pidOf('gateway'), 'wcs-signalling': await platform.pidOf('wcs-signalling') },
    stop: () => Promise.resolve(),
  };
}

async function signallingAlone({ platform }: BenchmarkContext): Promise<Server> {
  await platform.restart(['wcs-signalling']);
  const signalling = await platform.pidOf('wcs-signalling');
  return {
    wsUrl: `ws://127.0.0.1:${listenPort(signalling)}`,
    pids: { 'wcs-signalling': signalling },
    stop: () => Promise.resolve(),
  };
}

async function bareWs(): Promise<Server> {
  const program = await ChildProgram.start<BareWsReady>('bare-ws');
  return {
    wsUrl: `ws://127.0.0.1:${program.ready.port}`,
    pids: { 'bare ws': program.pid },
    stop: () => program.stop(),
  };
}

async function bareWsBehindGateway({ platform }: BenchmarkContext): Promise<Server> {
  const program = await ChildProgram.start<BareWsReady>('bare-ws');
  try {
    const gateway = await LoneGateway.start(platform, program.ready.port);
    return {
      wsUrl: gateway.wsUrl,
      pids: { gateway: gateway.pid, 'bare ws': program.pid },
      stop: async () => {
        await gateway.stop();
        await program.stop();
      },
    };
  } catch (error) {
    await program.stop();
    throw error;
  }
}

type Measured = ReadonlyMap<Kind, readonly Round[]>;

const middleOf = (rounds: readonly Round[] | undefined, value: (round: Round) => number) =>
  median((rounds ?? []).map(value));

function accepting(measured: Measured): Table {
  const baseline = middleOf(measured.get(BASELINE), ({ opening }) => opening.perS);
  return {
    title: 'Opening sessions: handshake, connection, getUserData; medians over the rounds',
    columns: ['', 'sessions', 'sessions/s', 'lowest', 'highest', 'p50 ms', 'p99 ms', 'of baseline', 'lost'],
    rows: [...measured].map(([kind, rounds]) => {
      const perS = middleOf(rounds, ({ opening }) => opening.perS);
      return [
        kind,
        middleOf(rounds, ({ opening }) => opening.count),
        Math.round(perS),
        Math.round(Math.min(...rounds.map(({ opening }) => opening.perS))),
        Math.round(Math.max(...rounds.map(({ opening }) => opening.perS))),
        middleOf(rounds, ({ opening }) => opening.p50Ms),
        middleOf(rounds, ({ opening }) => opening.p99Ms),
        perS / baseline,
        sum(rounds.map(({ lost }) => lost)),
      ];
    }),
    note: 'Lowest and highest of the rounds. The client, one process with 64 handshakes at a time, shares the cores with the servers.',
  };
}

function memory(measured: Measured, sessionCount: number): Table {
  const mib = (bytes: number) => bytes / 2 ** 20;
  return {
    title: 'Memory (RSS)',
    columns: ['', 'before MiB', 'with all sessions MiB', 'KiB a session'],
    rows: [...measured].flatMap(([kind, rounds]) =>
      Object.keys(rounds[0]?.rssBytesBefore ?? {}).map((name) => {
        const before = middleOf(rounds, ({ rssBytesBefore }) => rssBytesBefore[name] ?? NaN);
        const after = middleOf(rounds, ({ rssBytesAfter }) => rssBytesAfter[name] ?? NaN);
        return [`${kind}: ${name}`, mib(before), mib(after), (after - before) / 1_024 / sessionCount];
      }),
    ),
    note: 'An upper bound: includes memory that the garbage collector has not yet freed.',
  };
}

function idling(measured: Measured): Table {
  return {
    title: 'Processor time while idle, each session pinged every 5 s, ms/s',
    columns: ['', 'ms/s', 'pings/s answered'],
    rows: [...measured].flatMap(([kind, rounds]) =>
      Object.keys(rounds[0]?.idleCpuMsPerS ?? {}).map((name) => [
        `${kind}: ${name}`,
        middleOf(rounds, ({ idleCpuMsPerS }) => idleCpuMsPerS[name] ?? NaN),
        Math.round(middleOf(rounds, ({ pings, idleMs }) => (pings * 1_000) / idleMs)),
      ]),
    ),
    note: '1000 ms/s is one core.',
  };
}
