import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { findProgram } from '../setup/command.mjs';
import { identify, type ProcessIdentity } from '../setup/process-identity.mjs';
import { BackOff } from './back-off.js';

/** The system user that a process runs as, if it isn't the user of this process. */
export interface ProcessUser {
  uid: number;
  gid: number;
  /** A Linux capability that the process keeps, e.g. `dac_read_search`. */
  capability?: string | undefined;
}

export interface ProcessDefinition {
  name: string;
  command: readonly [string, ...string[]];
  cwd: string;
  env: NodeJS.ProcessEnv;
  user?: ProcessUser | undefined;
  /** The signal that asks the process to stop gracefully. */
  stopSignal: 'SIGTERM' | 'SIGINT';
  /** How long it may take to stop before it is killed. */
  stopTimeoutMs: number;
  /** Awaited before each start. */
  prepare?(): Promise<void>;
}

export interface ProcessPorts {
  /** Shows a line to the user at the console. */
  say(line: string): void;
  /** A line that the process wrote to its standard output or error. */
  output(name: string, line: string): void;
  /** The process was started (`identity` set) or has ended. */
  changed(name: string, identity: ProcessIdentity | undefined): void;
}

export interface ProcessEnd {
  /** e.g. "signal SIGKILL" or "status 1" */
  how: string;
  status: number | undefined;
}

/**
 * A process that is started again whenever it ends, until `stop`. It leads its own session, so that a Ctrl-C at the
 * terminal reaches only the supervisor, and everything that it started can be ended with it. If the system supports it,
 * the process gets its stop signal when the supervisor dies.
 */
export class SupervisedProcess {
  readonly #stopping = new AbortController();
  readonly #backOff = new BackOff();
  #child: ChildProcess | undefined;
  #running: Promise<void> | undefined;
  #endListeners: ((end: ProcessEnd) => void)[] = [];

  constructor(
    private readonly definition: ProcessDefinition,
    private readonly ports: ProcessPorts,
  ) {}

  get name(): string {
    return this.definition.name;
  }

  /** undefined while the process is down */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Calls the listener at each unexpected end. */
  onEnd(listener: (end: ProcessEnd) => void): void {
    this.#endListeners.push(listener);
  }

  /** @returns false if the process is down */
  kill(signal: NodeJS.Signals): boolean {
    return this.#child?.kill(signal) ?? false;
  }

  /** Ends the process for good: gracefully, or by force if that takes too long. Idempotent. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.kill(this.definition.stopSignal);
    const timer = setTimeout(() => {
      this.ports.say(`${this.name} takes too long to stop, killing it`);
      this.killNow();
    }, this.definition.stopTimeoutMs);
    await this.#running;
    clearTimeout(timer);
  }

  /** Ends the process and everything that it started, at once and for good. */
  killNow(): void {
    this.#stopping.abort();
    if (this.pid !== undefined) killGroup(this.pid);
  }

  async #run(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      const startedAtMs = Date.now();
      const end = await this.#runOnce();
      if (this.#stopping.signal.aborted) return;
      const delayMs = this.#backOff.nextDelayMs(Date.now() - startedAtMs);
      this.ports.say(`${this.name} exited (${end.how}), restarting in ${delayMs / 1_000} s`);
      for (const listener of this.#endListeners) listener(end);
      await delay(delayMs, undefined, { signal: this.#stopping.signal }).catch(ignoreAbort);
    }
  }

  async #runOnce(): Promise<ProcessEnd> {
    try {
      await this.definition.prepare?.();
      if (this.#stopping.signal.aborted) return { how: 'not started', status: undefined };
      const child = this.#spawn();
      const [status, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
      return { how: signal === null ? `status ${status}` : `signal ${signal}`, status: status ?? undefined };
    } catch (error) {
      return { how: error instanceof Error ? error.message : String(error), status: undefined };
    } finally {
      const pid = this.#child?.pid;
      if (pid !== undefined) killGroup(pid);
      this.#child = undefined;
      this.ports.changed(this.name, undefined);
    }
  }

  #spawn(): ChildProcess {
    const { cwd, env } = this.definition;
    const { file, args, options } = launch(this.definition);
    const child = spawn(file, args, { cwd, env, ...options, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr])
      createInterface({ input: stream }).on('line', (line) => this.ports.output(this.name, line));
    if (child.pid !== undefined) {
      this.ports.changed(this.name, identify(child.pid));
      // A stop that came while the process was being created found nothing to signal.
      if (this.#stopping.signal.aborted) this.kill(this.definition.stopSignal);
    }
    return child;
  }
}

/**
 * How to start a process so that it dies with this one and has its user's rights. Linux signals the process when the
 * thread that started it ends, so that must be the main thread.
 */
function launch({ command, user, stopSignal }: ProcessDefinition) {
  const [file, ...args] = command;
  const setpriv = process.platform === 'linux' ? findProgram('setpriv') : undefined;
  if (setpriv === undefined) {
    if (user?.capability !== undefined)
      throw new Error(`the program setpriv of util-linux is needed to run ${file} as another user`);
    return { file, args, options: user === undefined ? {} : { uid: user.uid, gid: user.gid } };
  }
  return {
    file: setpriv,
    args: [...setprivArguments(user), `--pdeathsig=${stopSignal.slice(3)}`, file, ...args],
    options: {},
  };
}

/**
 * The arguments with which setpriv runs a program as a user. `no_setuid_fixup` makes access(2) respect the capability,
 * too. The program is left with only that capability, because only ambient capabilities survive its execve(2).
 */
export const setprivArguments = (user: ProcessUser | undefined): string[] =>
  user === undefined
    ? []
    : [
        `--reuid=${user.uid}`,
        `--regid=${user.gid}`,
        '--clear-groups',
        ...(user.capability === undefined
          ? []
          : [
              `--inh-caps=-all,+${user.capability}`,
              `--ambient-caps=-all,+${user.capability}`,
              '--securebits=+no_setuid_fixup',
            ]),
      ];

/** Kills what is left of a process group. */
export function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function ignoreAbort(error: unknown): void {
  if (!(error instanceof Error) || error.name !== 'AbortError') throw error;
}
