import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePortRange, freePorts, startPlatform, type ProcessName } from '@weir/single-machine';
import { waitFor } from '@weir/testing';
import { z } from 'zod';
import { cpuMs, descendants, nameOf, treeCpuMs, type CpuClocks } from './process-usage.js';

/** What benchmarks need of a running weir. */
export interface BenchPlatform {
  httpUrl: string;
  /** `rtsp://host:port`. */
  rtspUrl: string;
  /** The user of the demo tenant. */
  user: { username: string; password: string };
  natsUrl: string;
  redisUrl: string;
  /** The operator's key of the demo tenant. */
  operatorKey: string;
  /** Where the platform keeps its data and its `credentials.json`. */
  dataDir: string;
  /** The processes that run now. */
  pids(): Promise<Partial<Record<string, number>>>;
  /** @throws if the process is down */
  pidOf(name: ProcessName): Promise<number>;
  /** Restarts services, so that their memory belongs to this run. Does nothing if others share the platform. */
  restart(names: readonly ProcessName[]): Promise<void>;
  stop(): Promise<void>;
}

/**
 * The limits per address would stop a client with thousands of sockets. The demo's robots would publish in addition to
 * what is measured. Streams are relayed from the platform to itself, and recordings delivered to a server of a benchmark.
 */
const SETTINGS = {
  WEIR_SOCKETS_PER_ADDRESS: '1000000',
  WEIR_UPGRADES_PER_MINUTE: '10000000',
  WEIR_AUTH_REQUESTS_PER_MINUTE: '0',
  WEIR_REST_REQUESTS_PER_MINUTE: '0',
  WEIR_DEMO_ROBOTS: '0',
  WEIR_OUTBOUND_ALLOW: '127.0.0.1',
  WEIR_RECORDING_UPLOAD_HTTP: '1',
};

/** Starts weir as `npm start` does, with its own data, on free ports. */
export async function startBenchPlatform(
  log: (line: string) => void,
  settings: Readonly<Record<string, string>> = SETTINGS,
): Promise<BenchPlatform> {
  const dataDir = await mkdtemp(join(tmpdir(), 'weir-bench-'));
  const [httpPort = 0, rtspPort = 0] = await freePorts(2);
  const removeData = () => rm(dataDir, { recursive: true, force: true });
  const platform = await startPlatform({
    dataDir,
    env: {
      ...process.env,
      ...settings,
      WEIR_HTTP_PORT: String(httpPort),
      WEIR_RTSP_PORT: String(rtspPort),
      WEIR_MEDIA_PORT: String(await freePortRange(8)),
      WEIR_RECORDING_FOLDER: join(dataDir, 'delivered'),
    },
    log,
  }).catch(async (error: unknown) => {
    await removeData();
    throw error;
  });
  return {
    httpUrl: platform.httpUrl,
    rtspUrl: `rtsp://127.0.0.1:${rtspPort}`,
    user: platform.credentials.user,
    natsUrl: platform.urls.nats,
    redisUrl: platform.urls.redis,
    operatorKey: z.object({ operator: z.object({ key: z.string() }) }).parse(platform.credentials).operator.key,
    dataDir,
    pids: () => Promise.resolve(platform.pids()),
    pidOf: (name) => Promise.resolve(living(platform.pids(), name)),
    restart: async (names) => {
      const before = platform.pids();
      for (const name of names) platform.kill(name, 'SIGTERM');
      await waitFor(() => names.every((name) => ![undefined, before[name]].includes(platform.pids()[name])), {
        timeoutMs: 60_000,
        what: `the restart of ${names.join(', ')}`,
      });
      await waitFor(async () => (await fetch(`${platform.httpUrl}/healthz`)).status === 200, {
        timeoutMs: 60_000,
        what: 'a healthy platform',
      });
    },
    stop: async () => {
      await platform.stop();
      await removeData();
    },
  };
}

const sharedPlatform = z.object({
  httpUrl: z.url(),
  rtspUrl: z.url(),
  user: z.object({ username: z.string(), password: z.string() }),
  natsUrl: z.string(),
  redisUrl: z.string(),
  operatorKey: z.string(),
  dataDir: z.string(),
  /** Where `GET /pids` returns the processes. */
  controlUrl: z.url(),
});
export type SharedPlatform = z.output<typeof sharedPlatform>;

/** Uses a weir that is already running, and leaves it as it is. @param json a `SharedPlatform` */
export function attachPlatform(json: string): BenchPlatform {
  const { controlUrl, ...urls } = sharedPlatform.parse(JSON.parse(json));
  const pids = async () => {
    const response = await fetch(`${controlUrl}/pids`);
    return z.record(z.string(), z.number()).parse(await response.json());
  };
  return {
    ...urls,
    pids,
    pidOf: async (name) => living(await pids(), name),
    restart: () => Promise.resolve(),
    stop: () => Promise.resolve(),
  };
}

function living(pids: Partial<Record<string, number>>, name: ProcessName): number {
  const pid = pids[name];
  if (pid === undefined) throw new Error(`${name} is down`);
  return pid;
}

/** What a stream between WebRTC clients needs in addition to the media workers; `media` is media's Node process. */
const CONTROL_PLANE = ['gateway', 'wcs-signalling', 'media', 'auth', 'nats', 'redis', 'postgres'] as const;

/** The processor time of each process of the control plane with its children, and the pids of the media workers. */
export async function mediaProcesses(platform: BenchPlatform): Promise<{ control: CpuClocks; workers: number[] }> {
  const pids = await Promise.all(CONTROL_PLANE.map(async (name) => [name, await platform.pidOf(name)] as const));
  const control = pids.map(([name, pid]) => [name, () => (name === 'media' ? cpuMs(pid) : treeCpuMs(pid))] as const);
  const workers = descendants(await platform.pidOf('media')).filter((pid) => nameOf(pid) === 'mediasoup-worke');
  return { control: Object.fromEntries(control), workers };
}
