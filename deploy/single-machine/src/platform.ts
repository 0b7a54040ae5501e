import { mkdirSync, readFileSync, existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { tryLock } from '../setup/file-lock.mjs';
import { untilReady, type BackingServer } from './backing-server.js';
import { consoleLine } from './console-line.js';
import { LogFile } from './log-file.js';
import { natsServer } from './nats.js';
import { freePorts, isFreeTcpPort, isFreeUdpPort } from './ports.js';
import { postgresServer } from './postgres.js';
import { ProcessRecord } from './process-record.js';
import { redisServer } from './redis.js';
import { ensureServerPasswords, ensureSigningKey, ensureTurnSecret } from './secrets.js';
import {
  credentialFiles,
  localHost,
  robotProcess,
  serviceProcess,
  SERVICES_IN_STOP_ORDER,
  type ServiceName,
} from './services.js';
import { parseSingleMachineSettings, StartError, type SingleMachineSettings } from './settings.js';
import { SupervisedProcess, type ProcessEnd } from './supervised-process.js';
import { turnServer } from './turn.js';

const SERVER_START_TIMEOUT_MS = 60_000;
const HEALTHY_TIMEOUT_MS = 120_000;
const HEALTH_POLL_INTERVAL_MS = 100;
const HEALTH_PROGRESS_INTERVAL_MS = 5_000;
const TEND_INTERVAL_MS = 1_000;
/** EX_CONFIG of sysexits.h: a service can't use its settings, so starting it again is useless. */
const CONFIGURATION_ERROR_STATUS = 78;
/** A service that ends this often before everything is healthy won't become healthy. */
const MAX_ENDINGS_AT_START = 5;

const checkout = resolve(import.meta.dirname, '../../..');

const credentialsFile = z.looseObject({
  user: z.object({ username: z.string(), password: z.string() }),
  robots: z.array(z.looseObject({ id: z.string() })).default([]),
});

/** `WEIR_DATA_DIR/credentials.json`: the demo tenant's user, and whatever else the services write there. */
export type Credentials = z.output<typeof credentialsFile>;

/** A service, a server, or the id of a simulated robot. */
export type ProcessName = 'nats' | 'redis' | 'postgres' | 'turn' | ServiceName | (string & Record<never, never>);

export interface PlatformOptions {
  /** The settings by their names in the environment, and anything else to pass to the services. */
  env: NodeJS.ProcessEnv;
  /** Overrides WEIR_DATA_DIR. */
  dataDir?: string;
  /** Shows a line to the user at the console. */
  log: (line: string) => void;
  /** Aborts an unfinished start; everything that was started so far is stopped. */
  signal?: AbortSignal;
}

export interface Platform {
  /** The gateway's URL, without a slash at the end. */
  httpUrl: string;
  dataDir: string;
  settings: SingleMachineSettings;
  credentials: Credentials;
  credentialsPath: string;
  /** With user and password if the server has them. */
  urls: { nats: string; redis: string; database: string };
  /** The processes that run now. */
  pids(): Partial<Record<ProcessName, number>>;
  /** Sends a signal to a process; if the signal ends it, it is started again. @returns false if it is down */
  kill(name: ProcessName, signal: NodeJS.Signals): boolean;
  /** Stops everything in order. Idempotent. */
  stop(): Promise<void>;
  /** Ends every process at once. */
  killAll(): void;
}

/**
 * Starts weir on this machine and waits until it is healthy: first the servers for which the settings name no other,
 * then all services. The set-up (deploy/single-machine/setup.mjs) must have run.
 *
 * @throws StartError for a problem that the user can fix; then nothing runs
 */
export async function startPlatform(options: PlatformOptions): Promise<Platform> {
  try {
    return await startInOrder(options);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT')))
      throw error;
    throw new StartError(`The disk is full (${error.message}). Make room there, then start again.`, { cause: error });
  }
}

async function startInOrder(options: PlatformOptions): Promise<Platform> {
  const settings = parseSingleMachineSettings(options.env);
  const dataDir = resolve(checkout, options.dataDir ?? settings.WEIR_DATA_DIR);
  // If this process is root, PostgreSQL runs as another user, who must be able to enter the folder.
  mkdirSync(join(dataDir, 'logs'), { recursive: true, mode: process.getuid?.() === 0 ? 0o711 : 0o700 });
  const locked = tryLock(join(dataDir, 'lock'));
  if ('heldBy' in locked)
    throw new StartError(
      `Another weir (process ${locked.heldBy.pid}) runs with the data in ${dataDir}. ` +
        'Stop it, or set WEIR_DATA_DIR to another folder.',
    );
  const supervisor = new Supervisor(dataDir, settings, options);
  try {
    await supervisor.start();
    return supervisor.platform(() => locked.lock.release());
  } catch (error) {
    await supervisor.stop();
    locked.lock.release();
    throw error;
  }
}

class Supervisor {
  readonly #record: ProcessRecord;
  readonly #logFiles = new Map<string, LogFile>();
  readonly #processes = new Map<ProcessName, SupervisedProcess>();
  #turnSecret: string | undefined;
  readonly #urls = { nats: '', redis: '', database: '' };
  readonly #failed = new AbortController();
  readonly #httpUrl: string;
  /** The simulated robots' ids. */
  readonly #robots: string[] = [];
  readonly #tending: NodeJS.Timeout[] = [];
  #healthy = false;
  #stopped: Promise<void> | undefined;

  constructor(
    private readonly dataDir: string,
    private readonly settings: SingleMachineSettings,
    private readonly options: PlatformOptions,
  ) {
    this.#record = new ProcessRecord(join(dataDir, 'processes.json'), options.log);
    this.#httpUrl = `http://${localHost(settings)}:${settings.WEIR_HTTP_PORT}`;
  }

  async start(): Promise<void> {
    await this.#record.endLeftovers(this.options.log);
    await checkPorts(this.settings, this.options.env);
    await this.#startServers();
    await this.#startServices();
    await this.#untilHealthy();
    this.#healthy = true;
    this.#startRobots();
  }

  platform(release: () => void): Platform {
    const credentialsPath = credentialFiles(this.dataDir).credentials;
    return {
      httpUrl: this.#httpUrl,
      dataDir: this.dataDir,
      settings: this.settings,
      credentials: readCredentials(credentialsPath),
      credentialsPath,
      urls: this.#urls,
      pids: () =>
        Object.fromEntries(
          [...this.#processes].flatMap(([name, { pid }]) => (pid === undefined ? [] : [[name, pid] as const])),
        ),
      kill: (name, signal) => this.#processes.get(name)?.kill(signal) ?? false,
      stop: () => this.stop().finally(release),
      killAll: () => {
        for (const process of this.#processes.values()) process.killNow();
      },
    };
  }

  /** Stops the services in their order, so that each can still use those that stop after it; then the servers. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stopInOrder();
    return this.#stopped;
  }

  async #stopInOrder(): Promise<void> {
    for (const timer of this.#tending) clearInterval(timer);
    for (const name of [...this.#robots, ...SERVICES_IN_STOP_ORDER, 'turn', 'nats', 'redis', 'postgres'])
      await this.#processes.get(name)?.stop();
    for (const file of this.#logFiles.values()) file.close();
    this.#logFiles.clear();
  }

  async #startServers(): Promise<void> {
    const { settings, options, dataDir } = this;
    const passwords = ensureServerPasswords(join(dataDir, 'server-passwords.json'));
    const ports = await freePorts(3);
    const [natsPort = 0, redisPort = 0, postgresPort = 0] = ports;
    const server = (folder: string, port: number, password: string) => ({
      folder: join(dataDir, folder),
      port,
      password,
      env: options.env,
    });
    const start = async (name: ProcessName, make: () => BackingServer | Promise<BackingServer>) => {
      const made = await make();
      this.#supervise(name, made.process);
      const timeout = AbortSignal.timeout(SERVER_START_TIMEOUT_MS);
      await untilReady(made, this.#startSignal(timeout)).catch((error: unknown) => {
        throw timeout.aborted ? new StartError(`${name} didn't start; see ${this.#logPath(name)}`) : error;
      });
      this.#tend(name, made);
      return made.url;
    };
    if (settings.WEIR_TURN) this.#turnSecret = ensureTurnSecret(join(dataDir, 'turn-secret'));
    const secret = this.#turnSecret;
    const started = await Promise.allSettled([
      settings.NATS_URL ?? start('nats', () => natsServer(server('nats', natsPort, passwords.nats))),
      settings.REDIS_URL ?? start('redis', () => redisServer(server('redis', redisPort, passwords.redis))),
      settings.DATABASE_URL ??
        start('postgres', () => postgresServer(server('postgres', postgresPort, passwords.postgres))),
      secret === undefined
        ? ''
        : start('turn', () => turnServer({ folder: join(dataDir, 'turn'), settings, secret, env: options.env })),
    ]);
    for (const result of started) if (result.status === 'rejected') throw result.reason;
    const [nats = '', redis = '', database = ''] = started.map((result) =>
      result.status === 'fulfilled' ? result.value : '',
    );
    Object.assign(this.#urls, { nats, redis, database });
  }

  async #startServices(): Promise<void> {
    ensureSigningKey(credentialFiles(this.dataDir).signingKey);
    const free = await freePorts(SERVICES_IN_STOP_ORDER.length);
    const ports = Object.fromEntries(SERVICES_IN_STOP_ORDER.map((name, index) => [name, free[index]])) as Record<
      ServiceName,
      number
    >;
    const { dataDir, settings, options } = this;
    for (const name of SERVICES_IN_STOP_ORDER.toReversed())
      this.#supervise(
        name,
        serviceProcess(name, {
          ...{ checkout, dataDir, settings, env: options.env, urls: this.#urls, ports },
          turnSecret: this.#turnSecret,
        }),
      );
  }

  #startRobots(): void {
    const { dataDir, settings, options } = this;
    if (!settings.WEIR_DEMO_ROBOTS) return;
    for (const { id } of readCredentials(credentialFiles(dataDir).credentials).robots) {
      this.#robots.push(id);
      this.#supervise(id, robotProcess(id, { checkout, dataDir, settings, env: options.env }));
    }
  }

  #tend(name: ProcessName, { tend }: BackingServer): void {
    const say = (line: string) => this.options.log(line);
    const turn = () => tend?.(say).catch((error: unknown) => say(`${name} can't be tended: ${String(error)}`));
    if (tend !== undefined) this.#tending.push(setInterval(() => void turn(), TEND_INTERVAL_MS));
  }

  #supervise(name: ProcessName, definition: ConstructorParameters<typeof SupervisedProcess>[0]): void {
    this.options.signal?.throwIfAborted();
    const isService = (SERVICES_IN_STOP_ORDER as readonly string[]).includes(name);
    this.#logFiles.set(name, new LogFile(this.#logPath(name)));
    const supervised = new SupervisedProcess(definition, {
      say: (line) => this.options.log(line),
      changed: (_name, identity) => this.#record.note(name, identity),
      output: (_name, line) => {
        this.#logFiles.get(name)?.writeLine(line);
        const shown = isService ? consoleLine(name, line, this.#healthy ? 'warn' : 'error') : undefined;
        if (shown !== undefined) this.options.log(shown);
      },
    });
    let endings = 0;
    supervised.onEnd((end) => {
      endings++;
      if (!this.#healthy) this.#considerFailure(name, end, endings);
    });
    this.#processes.set(name, supervised);
    supervised.start();
  }

  #considerFailure(name: ProcessName, end: ProcessEnd, endings: number): void {
    if (end.status === CONFIGURATION_ERROR_STATUS)
      this.#failed.abort(new StartError(`${name} can't use its settings; its messages are above.`));
    else if (endings >= MAX_ENDINGS_AT_START)
      this.#failed.abort(new StartError(`${name} keeps ending (${end.how}); see ${this.#logPath(name)}`));
  }

  async #untilHealthy(): Promise<void> {
    const startedAtMs = Date.now();
    const signal = this.#startSignal();
    let said = startedAtMs;
    for (;;) {
      const health = await readHealth(`${this.#httpUrl}/healthz`);
      signal.throwIfAborted();
      if (health.ready) return;
      const nowMs = Date.now();
      if (nowMs - startedAtMs > HEALTHY_TIMEOUT_MS)
        throw new StartError(
          `weir isn't healthy after ${HEALTHY_TIMEOUT_MS / 1_000} s: ${health.reason}\nSee the logs in ${join(this.dataDir, 'logs')}`,
        );
      if (nowMs - said > HEALTH_PROGRESS_INTERVAL_MS) {
        said = nowMs;
        this.options.log(`waiting for the services, ${Math.round((nowMs - startedAtMs) / 1_000)} s: ${health.reason}`);
      }
      await delay(HEALTH_POLL_INTERVAL_MS);
    }
  }

  #startSignal(...others: AbortSignal[]): AbortSignal {
    const { signal } = this.options;
    return AbortSignal.any([this.#failed.signal, ...(signal === undefined ? [] : [signal]), ...others]);
  }

  #logPath(name: string): string {
    return join(this.dataDir, 'logs', `${name}.log`);
  }
}

async function checkPorts(settings: SingleMachineSettings, env: NodeJS.ProcessEnv): Promise<void> {
  const workers = Number(env['WEIR_MEDIA_WORKERS']) || availableParallelism();
  const mediaPorts = Array.from({ length: workers }, (_, index) => settings.WEIR_MEDIA_PORT + index);
  const tcp: [string, number][] = [
    ['WEIR_HTTP_PORT', settings.WEIR_HTTP_PORT],
    ['WEIR_RTSP_PORT', settings.WEIR_RTSP_PORT],
    ...(settings.WEIR_TLS_CERT === undefined
      ? []
      : [['WEIR_HTTPS_PORT', settings.WEIR_HTTPS_PORT] as [string, number]]),
    ...(settings.WEIR_TURN ? [['WEIR_TURN_PORT', settings.WEIR_TURN_PORT] as [string, number]] : []),
    ...(settings.WEIR_TURN && settings.WEIR_TLS_CERT !== undefined
      ? [['WEIR_TURN_TLS_PORT', settings.WEIR_TURN_TLS_PORT] as [string, number]]
      : []),
    ...mediaPorts.map((port): [string, number] => ['WEIR_MEDIA_PORT', port]),
  ];
  const problems: string[] = [];
  for (const [name, port] of tcp)
    if (!(await isFreeTcpPort(port))) problems.push(`  ${name}: another program listens on TCP port ${port}`);
  const udp: [string, number][] = [
    ...mediaPorts.map((port): [string, number] => ['WEIR_MEDIA_PORT', port]),
    ...(settings.WEIR_TURN ? [['WEIR_TURN_PORT', settings.WEIR_TURN_PORT] as [string, number]] : []),
  ];
  for (const [name, port] of udp)
    if (!(await isFreeUdpPort(port))) problems.push(`  ${name}: another program uses UDP port ${port}`);
  if (problems.length > 0)
    throw new StartError(
      `Some ports are taken. Stop the other program, or choose other ports by these settings:\n${problems.join('\n')}`,
    );
}

async function readHealth(url: string): Promise<{ ready: true } | { ready: false; reason: string }> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(2_000) });
    if (response.status === 200) return { ready: true };
    return { ready: false, reason: (await response.text()).slice(0, 1_000) };
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    return { ready: false, reason: `gateway: ${cause instanceof Error ? cause.message : String(cause)}` };
  }
}

function readCredentials(path: string): Credentials {
  if (!existsSync(path)) throw new StartError(`auth has not written ${path}; see its log`);
  return credentialsFile.parse(JSON.parse(readFileSync(path, 'utf8')));
}
