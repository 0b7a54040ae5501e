import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';

/** Whether a program is installed. If not, it says so on the console, so that skipped tests are noticed. */
export function isInstalled(program: string): boolean {
  const installed = spawnSync('which', [program], { stdio: 'ignore' }).status === 0;
  if (!installed) console.warn(`${program} is not installed: the tests with it are SKIPPED`);
  return installed;
}

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running program and its output. */
export class Program {
  readonly finished: Promise<Finished>;
  #child;
  #stdout = '';
  #stderr = '';

  constructor(command: string, args: readonly string[]) {
    this.#child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => (this.#stdout += text));
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => (this.#stderr += text));
    this.finished = once(this.#child, 'close').then(() => ({
      code: this.#child.exitCode,
      stdout: this.#stdout,
      stderr: this.#stderr,
    }));
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Finished> {
    this.#child.kill(signal);
    const late = setTimeout(() => this.#child.kill('SIGKILL'), 3000);
    const finished = await this.finished;
    clearTimeout(late);
    return finished;
  }
}
