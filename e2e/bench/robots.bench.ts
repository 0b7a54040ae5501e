import { once } from 'node:events';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { removeRobot } from '../src/test-robot.js';
import type { BareRobotsReady } from './bare-robots.js';
import type { Benchmark, BenchmarkContext } from './benchmark.js';
import { ChildProgram } from './child-program.js';
import { logIn } from './demo-user.js';
import type { BenchPlatform } from './platform.js';
import { cpuMs, CpuWindow, rssBytes, treeCpuMs, type CpuClocks } from './process-usage.js';
import { median, quantile, summarize, type Summary } from './samples.js';
import type { Table } from './table.js';

const SERVERS = ['weir', 'bare ws'] as const;
type Server = (typeof SERVERS)[number];

interface RobotKey {
  id: string;
  token: string;
}

/** The server that robots and an app connect to, and its processes. */
interface Place {
  robotUrl: (robot: RobotKey) => string;
  appUrl: string;
  /** The processes whose memory is measured. */
  pids: Readonly<Record<string, number>>;
  /** The processes whose processor time is measured: the same, and the servers that they use. */
  clocks: CpuClocks;
  stop(): Promise<void>;
}

interface Round {
  /** From the start to the end of a robot's handshake. */
  openingMs: Summary;
  perS: number;
  rssBytesBefore: Record<string, number>;
  rssBytesAfter: Record<string, number>;
  idleCpuMsPerS: Record<string, number>;
  /** From the start of a robot's handshake, or from the end of its socket, until the app is told. */
  onlineMs: Summary;
  offlineMs: Summary;
  /** From the app's command to the arrival of the robot's reply. */
  commandMs: Summary;
  /** How many sockets the server has closed. */
  lost: number;
}

const CONCURRENCY = 32;
const CAMERA = 'front';
const EVENT_TIMEOUT_MS = 20_000;
/** An app may send 20 messages per second. */
const SAMPLE_INTERVAL_MS = 60;

export const robots: Benchmark = {
  name: 'robots',
  async run(context) {
    const { robotCount, rounds, idleMs, samples } = context.short
      ? { robotCount: 20, rounds: 1, idleMs: 1_000, samples: 10 }
      : { robotCount: 1_000, rounds: 3, idleMs: 20_000, samples: 300 };
    const keys = await createRobots(context.platform, robotCount);
    context.log(`${robotCount} robots created`);
    try {
      const measured: Record<Server, Round[]> = { weir: [], 'bare ws': [] };
      for (let round = 0; round < rounds; round++)
        for (const server of SERVERS) {
          const place = server === 'weir' ? await weir(context) : await bareWs();
          try {
            measured[server].push(await measure(place, keys, idleMs, samples));
          } finally {
            await place.stop();
          }
          context.log(`round ${round + 1} of ${rounds}: ${server} measured`);
        }
      return {
        tables: [latencies(measured), memory(measured, robotCount), idling(measured)],
        figures: { robotCount, idleMs, samples, measured },
      };
    } finally {
      await inTurns(keys, ({ id }) => removeRobot(context.platform, id));
    }
  },
};

/** Does the work for all items, some at a time. */
async function inTurns<Item, Result>(items: readonly Item[], work: (item: Item) => Promise<Result>): Promise<Result[]> {
  const results: Result[] = [];
  const left = items.entries();
  await Promise.all(
    Array.from({ length: CONCURRENCY }, async () => {
      for (const [index, item] of left) results[index] = await work(item);
    }),
  );
  return results;
}

/** Creates robots of the demo tenant, each with its own token. */
async function createRobots({ httpUrl, operatorKey }: BenchPlatform, count: number): Promise<RobotKey[]> {
  /** If others use the same platform from the same address, it may answer 429. */
  const post = async (path: string, body: object, attempts = 60): Promise<unknown> => {
    const response = await fetch(`${httpUrl}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${operatorKey}` },
      body: JSON.stringify(body),
    });
    if (response.status === 429 && attempts > 0) {
      await sleep(1_000);
      return post(path, body, attempts - 1);
    }
    if (!response.ok) throw new Error(`POST ${path}: ${response.status} ${await response.text()}`);
    return response.json();
  };
  const run = randomUUID().slice(0, 8);
  return inTurns(
    Array.from({ length: count }, (_robot, index) => `bench_${run}_${index}`),
    async (id) => {
      await post('/channel/robots', { id, cameras: [{ name: CAMERA }] });
      const grants = [{ verb: 'publish', object: `${id}/*` }];
      const { token } = (await post('/auth/tokens', { subject: id, grants, ttlS: 3_600 })) as { token: string };
      return { id, token };
    },
  );
}

async function weir({ platform }: BenchmarkContext): Promise<Place> {
  await platform.restart(['gateway', 'robot-channel']);
  const wsUrl = platform.httpUrl.replace('http:', 'ws:');
  const token = await logIn(platform);
  const [gateway, robotChannel, redis, nats] = await Promise.all(
    (['gateway', 'robot-channel', 'redis', 'nats'] as const).map((name) => platform.pidOf(name)),
  );
  const pids = { 'robot-channel': robotChannel ?? 0, gateway: gateway ?? 0 };
  return {
    robotUrl: (robot) => `${wsUrl}/channel/robot?token=${robot.token}`,
    appUrl: `${wsUrl}/channel/app?token=${token}`,
    pids,
    clocks: {
      ...Object.fromEntries(Object.entries(pids).map(([name, pid]) => [name, () => cpuMs(pid)])),
      redis: () => treeCpuMs(redis ?? 0),
      nats: () => treeCpuMs(nats ?? 0),
    },
    stop: () => Promise.resolve(),
  };
}

async function bareWs(): Promise<Place> {
  const program = await ChildProgram.start<BareRobotsReady>('bare-robots');
  const wsUrl = `ws://127.0.0.1:${program.ready.port}`;
  return {
    robotUrl: ({ id }) => `${wsUrl}/robot?token=${id}`,
    appUrl: `${wsUrl}/app`,
    pids: { 'bare ws': program.pid },
    clocks: { 'bare ws': () => cpuMs(program.pid) },
    stop: () => program.stop(),
  };
}

async function measure(place: Place, keys: readonly RobotKey[], idleMs: number, samples: number): Promise<Round> {
  const app = await App.open(place.appUrl);
  const sockets = new Map<string, WebSocket>();
  let lost = 0;
  let closing = false;
  const connect = async (robot: RobotKey): Promise<number> => {
    const beganMs = performance.now();
    const socket = await openRobot(place.robotUrl(robot));
    sockets.set(robot.id, socket);
    socket.on('close', () => {
      if (!closing && sockets.get(robot.id) === socket) lost += 1;
    });
    return performance.now() - beganMs;
  };
  try {
    const rssBytesBefore = perProcess(place.pids);
    const startedMs = performance.now();
    const opened = await inTurns(keys, connect);
    const perS = (keys.length * 1_000) / (performance.now() - startedMs);
    const last = keys.at(-1);
    if (last !== undefined) await app.state(last.id, 'online', startedMs);

    const window = new CpuWindow(place.clocks);
    await sleep(idleMs);
    const { msPerS } = window.end();
    const rssBytesAfter = perProcess(place.pids);

    const commandMs: number[] = [];
    const onlineMs: number[] = [];
    const offlineMs: number[] = [];
    for (let sample = 0; sample < samples; sample++) {
      const interval = sleep(SAMPLE_INTERVAL_MS);
      const robot = keys[(sample * 7) % keys.length];
      if (robot === undefined) throw new RangeError('no robots');
      commandMs.push(await app.command(robot.id));
      const goneMs = performance.now();
      const socket = sockets.get(robot.id);
      sockets.delete(robot.id);
      socket?.terminate();
      offlineMs.push((await app.state(robot.id, 'robot_offline', goneMs)) - goneMs);
      const comesMs = performance.now();
      await connect(robot);
      onlineMs.push((await app.state(robot.id, 'online', comesMs)) - comesMs);
      await interval;
    }
    return {
      openingMs: summarize(opened),
      perS,
      rssBytesBefore,
      rssBytesAfter,
      idleCpuMsPerS: msPerS,
      onlineMs: summarize(onlineMs),
      offlineMs: summarize(offlineMs),
      commandMs: summarize(commandMs),
      lost,
    };
  } finally {
    closing = true;
    app.close();
    await inTurns([...sockets.values()], async (socket) => {
      if (socket.readyState === WebSocket.CLOSED) return;
      socket.terminate();
      await once(socket, 'close');
    });
  }
}

const perProcess = (pids: Readonly<Record<string, number>>): Record<string, number> =>
  Object.fromEntries(Object.entries(pids).map(([name, pid]) => [name, rssBytes(pid)]));

/** A robot that refuses each command at once, so that only the way there and back is measured. */
async function openRobot(url: string): Promise<WebSocket> {
  const socket = new WebSocket(url, { perMessageDeflate: false });
  socket.on('message', (data: Buffer) => {
    const { id, act, ebd } = JSON.parse(data.toString()) as { id: string; act: string; ebd?: unknown };
    const err = { ec: 400, em: 'The lens is covered', dm: 'ffmpeg_failed' };
    socket.send(JSON.stringify({ id, act: `${act}!`, err, ret: {}, ebd }));
  });
  await once(socket, 'open');
  socket.on('error', () => undefined); // `close` follows
  return socket;
}

interface Heard {
  id?: string;
  act: string;
  arg?: { robot_id: string; status: string };
  err?: { dm: string };
}

/** An app that sends commands to robots, hears of their states, and records when. */
class App {
  readonly #waiting = new Set<(heard: Heard, atMs: number) => void>();
  /** The last known state of each robot, and when the app heard of it. */
  readonly #states = new Map<string, { status: string; atMs: number }>();

  private constructor(private readonly socket: WebSocket) {
    socket.on('message', (data: Buffer) => {
      const atMs = performance.now();
      const heard = JSON.parse(data.toString()) as Heard;
      if (heard.act === 'robot.state' && heard.arg !== undefined)
        this.#states.set(heard.arg.robot_id, { status: heard.arg.status, atMs });
      for (const listener of this.#waiting) listener(heard, atMs);
    });
  }

  static async open(url: string): Promise<App> {
    const socket = new WebSocket(url, { perMessageDeflate: false });
    const app = new App(socket);
    await once(socket, 'open');
    socket.on('error', () => undefined); // `next` notices the close
    return app;
  }

  /** @returns when, after that moment, the app hears that the robot is in this state */
  state(robotId: string, status: string, sinceMs: number): Promise<number> {
    const known = this.#states.get(robotId);
    if (known !== undefined && known.status === status && known.atMs >= sinceMs) return Promise.resolve(known.atMs);
    return this.#next(`${robotId} ${status}`, ({ arg }) => arg?.robot_id === robotId && arg.status === status);
  }

  async command(robotId: string): Promise<number> {
    const id = randomUUID();
    const sentMs = performance.now();
    const answered = this.#next(`the reply of ${robotId}`, (heard) => {
      if (heard.id !== id) return false;
      if (heard.err?.dm !== 'ffmpeg_failed') throw new Error(`${robotId}: ${JSON.stringify(heard)}`);
      return true;
    });
    this.socket.send(JSON.stringify({ id, act: 'robot.start_stream', arg: { robot_id: robotId, camera: CAMERA } }));
    return (await answered) - sentMs;
  }

  close(): void {
    this.socket.terminate();
  }

  #next(what: string, isIt: (heard: Heard) => boolean): Promise<number> {
    return new Promise((resolve, reject) => {
      const finish = () => {
        clearTimeout(timer);
        this.#waiting.delete(listener);
        this.socket.off('close', closed);
      };
      const fail = (why: string) => {
        finish();
        reject(new Error(`the app did not hear ${what}: ${why}`));
      };
      const closed = (code: number) => fail(`its socket was closed with ${code}`);
      this.socket.once('close', closed);
      const timer = setTimeout(() => fail(`nothing came within ${EVENT_TIMEOUT_MS} ms`), EVENT_TIMEOUT_MS);
      const listener = (heard: Heard, atMs: number) => {
        try {
          if (!isIt(heard)) return;
          resolve(atMs);
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
        }
        finish();
      };
      this.#waiting.add(listener);
    });
  }
}

type Measured = Record<Server, readonly Round[]>;

function latencies(measured: Measured): Table {
  const kinds = [
    ['command: app to robot and back', ({ commandMs }: Round) => commandMs],
    ['a robot comes: handshake until the app knows', ({ onlineMs }: Round) => onlineMs],
    ['a robot goes: end of its socket until the app knows', ({ offlineMs }: Round) => offlineMs],
    ['handshake, 32 at a time', ({ openingMs }: Round) => openingMs],
  ] as const;
  return {
    title: 'Robots connected to one process: latencies, medians over the rounds, ms',
    columns: ['', 'samples a round', 'p50', 'p99', 'max', 'p50 beyond baseline'],
    rows: kinds.flatMap(([name, of]) =>
      SERVERS.map((server) => {
        const middle = (value: (summary: Summary) => number, from: Server = server) =>
          median(measured[from].map((round) => value(of(round))));
        return [
          `${name}, ${server}`,
          middle(({ count }) => count),
          middle(({ p50 }) => p50),
          middle(({ p99 }) => p99),
          quantile(
            measured[server].map((round) => of(round).max),
            1,
          ),
          middle(({ p50 }) => p50) - middle(({ p50 }) => p50, 'bare ws'),
        ];
      }),
    ),
    note: "weir's command claims the stream's name on a media node, waits for the robot, and releases the name; the bare server only forwards it.",
  };
}

function memory(measured: Measured, robotCount: number): Table {
  const mib = (bytes: number) => bytes / 2 ** 20;
  return {
    title: 'Memory (RSS)',
    columns: ['', 'before MiB', 'with all robots MiB', 'KiB a robot', 'sockets lost'],
    rows: SERVERS.flatMap((server) => {
      const rounds = measured[server];
      return Object.keys(rounds[0]?.rssBytesBefore ?? {}).map((name) => {
        const before = median(rounds.map(({ rssBytesBefore }) => rssBytesBefore[name] ?? NaN));
        const after = median(rounds.map(({ rssBytesAfter }) => rssBytesAfter[name] ?? NaN));
        const lost = rounds.reduce((total, round) => total + round.lost, 0);
        return [name, mib(before), mib(after), (after - before) / 1_024 / robotCount, lost];
      });
    }),
    note: 'An upper bound: includes memory that the garbage collector has not yet freed.',
  };
}

function idling(measured: Measured): Table {
  return {
    title: 'Processor time while the robots idle, each pinged every 2.5 s, ms/s',
    columns: ['', 'ms/s'],
    rows: SERVERS.flatMap((server) =>
      Object.keys(measured[server][0]?.idleCpuMsPerS ?? {}).map((name) => [
        name,
        median(measured[server].map(({ idleCpuMsPerS }) => idleCpuMsPerS[name] ?? NaN)),
      ]),
    ),
  };
}
