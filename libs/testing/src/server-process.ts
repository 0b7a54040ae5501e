import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { freePort } from './free-port.js';
import { waitFor } from './wait-for.js';

export interface Binary {
  readonly name: string;
  /** The Debian package that holds it. */
  readonly debianPackage: string;
}

/** Looks in PATH and in the directories where Debian puts servers. */
export function findBinary({ name, debianPackage }: Binary): string {
  const directories = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin', '/usr/bin'];
  for (const directory of directories.filter((one) => one !== '')) {
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      continue;
    }
  }
  throw new Error(`${name} isn't installed: apt-get install ${debianPackage}`);
}

export interface ServerProcessOptions {
  readonly name: string;
  /** The server's program, or the program that starts it in its own place. */
  readonly path: string;
  /** The arguments for the server's own port and directory. */
  readonly commandLine: (port: number, directory: string) => readonly string[];
  /** What the server writes when it is ready. */
  readonly readyText: string;
  /** Creates the data before the first start. */
  readonly prepare?: (directory: string) => Promise<void>;
}

const START_ATTEMPTS = 5;
const START_TIMEOUT_MS = 30_000;
const running = new Set<ChildProcess>();

const directories = new Set<string>();

// A test run that ends before its tests have stopped their servers leaves nothing behind.
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
  for (const directory of directories) rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
});

/** A server with a port of the loopback interface and a directory of its own, which both survive a restart. */
export class ServerProcess {
  readonly #options: ServerProcessOptions;
  readonly #directory: string;
  #port = 0;
  #child: ChildProcess | undefined;

  private constructor(options: ServerProcessOptions, directory: string) {
    this.#options = options;
    this.#directory = directory;
  }

  static async start(options: ServerProcessOptions): Promise<ServerProcess> {
    const directory = await mkdtemp(join(tmpdir(), `weir-${options.name}-`));
    directories.add(directory);
    const server = new ServerProcess(options, directory);
    try {
      await options.prepare?.(directory);
      for (let attempt = 1; ; attempt++) {
        server.#port = await freePort();
        try {
          await server.restart();
          return server;
        } catch (error) {
          // Another process may have taken the port.
          if (attempt === START_ATTEMPTS) throw error;
        }
      }
    } catch (error) {
      await server.stop();
      throw error;
    }
  }

  get port(): number {
    return this.#port;
  }

  /** Starts it again after kill(), on the same port with the same data. */
  async restart(): Promise<void> {
    const { name, path, commandLine, readyText } = this.#options;
    if (this.#child !== undefined) throw new Error(`${name} is still running`);
    const child = spawn(path, commandLine(this.#port, this.#directory), {
      cwd: this.#directory,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    let ready = false;
    let ended: string | undefined;
    child.once('error', (error) => (ended = error.message));
    child.once('exit', (code, signal) => {
      running.delete(child);
      ended = `it ended with ${signal ?? code}`;
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        if (ready) return;
        output += text;
        ready = output.includes(readyText);
      });
    }
    running.add(child);
    this.#child = child;
    try {
      await waitFor(() => ready || ended !== undefined, { what: `the start of ${name}`, timeoutMs: START_TIMEOUT_MS });
      if (!ready) throw new Error(ended);
    } catch (cause) {
      await this.#end('SIGKILL');
      throw new Error(`${name} didn't start:\n${output}`, { cause });
    }
  }

  /** Ends it as a crash does (SIGKILL) and keeps its data for restart(). */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** Ends it and removes its data. Idempotent. */
  async stop(): Promise<void> {
    await this.#end('SIGTERM');
    await rm(this.#directory, { recursive: true, force: true });
    directories.delete(this.#directory);
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill(signal);
    await exited;
  }
}
