import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { freePort, waitFor } from '@weir/testing';

const MAIN = resolve(import.meta.dirname, '../../../../services/call-broker/dist/main.js');
/** A machine that is busy otherwise may take long; the instance is only missed then. */
const START_TIMEOUT_MS = 300_000;

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** One instance of call-broker on a port of its own, which it keeps when it is killed and started again. */
export class BrokerProcess {
  #child: ChildProcess | undefined;
  /** How long each start took until the instance was healthy. */
  readonly startsMs: number[] = [];

  private constructor(
    readonly port: number,
    private readonly env: Readonly<Record<string, string>>,
  ) {}

  /** @param servers the settings with the URLs of NATS, Redis and PostgreSQL */
  static async start(servers: Readonly<Record<string, string>>): Promise<BrokerProcess> {
    const port = await freePort();
    const broker = new BrokerProcess(port, {
      ...servers,
      WEIR_LISTEN_HOST: '127.0.0.1',
      WEIR_LISTEN_PORT: String(port),
      LOG_LEVEL: process.env['TEST_LOG_LEVEL'] ?? 'fatal',
    });
    await broker.start();
    return broker;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  get isUp(): boolean {
    return this.#child !== undefined;
  }

  /** Resolves when it is healthy. */
  async start(): Promise<void> {
    const beganMs = performance.now();
    const child = spawn(process.execPath, [MAIN], {
      env: { PATH: process.env['PATH'], ...this.env },
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    running.add(child);
    child.once('exit', () => running.delete(child));
    await waitFor(
      () => {
        if (child.exitCode !== null) throw new Error(`call-broker ended with status ${child.exitCode}`);
        return fetch(`${this.url}/healthz`).then(
          ({ status }) => status === 200,
          () => false,
        );
      },
      { timeoutMs: START_TIMEOUT_MS, what: 'a healthy call-broker' },
    );
    this.startsMs.push(performance.now() - beganMs);
    this.#child = child;
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }
}
