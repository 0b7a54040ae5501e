import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';

export interface PushPorts {
  readonly command: readonly [program: string, ...args: string[]];
  readonly log: (message: string) => void;
  /** Called when the push has ended and won't be tried again. */
  readonly gaveUp: () => void;
}

/** The cloud lets a lost source come back within a few seconds only, so later attempts are useless. */
const RETRY_DELAYS_MS = [200, 500, 1_000, 2_000];
const KILL_AFTER_MS = 1_500;

let setprivFound: boolean | undefined;

/** If util-linux offers it, makes the kernel end the program with its parent (prctl PR_SET_PDEATHSIG). */
const tied = ([program, ...args]: PushPorts['command']): readonly [string, string[]] => {
  setprivFound ??= spawnSync('setpriv', ['--pdeathsig', 'KILL', 'true'], { stdio: 'ignore' }).status === 0;
  return setprivFound ? ['setpriv', ['--pdeathsig', 'KILL', program, ...args]] : [program, args];
};

const living = new Set<ChildProcess>();
// If the kernel doesn't end the children, a regular exit does.
process.on('exit', () => {
  for (const child of living) child.kill('SIGKILL');
});

/** Removes user info and query from the URLs in a line of ffmpeg's, which names the push URL with its signature. */
const withoutSecrets = (line: string): string =>
  line.replace(/(\brtsps?:\/\/)(?:[^\s/@]*@)?([^\s?'"]*)(?:\?[^\s'"]*)?/gi, '$1$2');

/** One camera's ffmpeg, started again when it ends by itself, until `stop`. */
export class Push {
  #child: ChildProcess | undefined;
  #ended: Promise<void> = Promise.resolve();
  #retryTimer: NodeJS.Timeout | undefined;
  #isStopped = false;
  #failures = 0;
  #lastWords = '';

  constructor(private readonly ports: PushPorts) {}

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** ffmpeg's last line of standard error. */
  get lastWords(): string {
    return this.#lastWords;
  }

  /** Resolves with true when the first frame is sent, or with false if ffmpeg ends before that. */
  start(): Promise<boolean> {
    return new Promise((resolve) => {
      this.#run(
        () => resolve(true),
        () => resolve(false),
      );
    });
  }

  /** Resolves when the process is gone. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#retryTimer);
    this.#child?.kill('SIGTERM');
    const kill = setTimeout(() => this.#child?.kill('SIGKILL'), KILL_AFTER_MS);
    await this.#ended;
    clearTimeout(kill);
  }

  #run(began: () => void, failed: () => void): void {
    const [program, args] = tied(this.ports.command);
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    living.add(child);
    let hasBegun = false;
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (hasBegun || !/^frame=\s*[1-9]/.test(line)) return;
      hasBegun = true;
      this.#failures = 0;
      began();
    });
    createInterface({ input: child.stderr }).on('line', (line) => {
      this.#lastWords = withoutSecrets(line);
    });
    child.on('error', (error) => {
      this.#lastWords = withoutSecrets(error.message);
    });
    this.#ended = new Promise((resolve) => {
      child.on('close', () => {
        living.delete(child);
        this.#child = undefined;
        resolve();
        if (this.#isStopped) failed();
        else if (hasBegun || this.#failures > 0) this.#tryAgain();
        else failed();
      });
    });
  }

  #tryAgain(): void {
    const delayMs = RETRY_DELAYS_MS[this.#failures];
    this.#failures += 1;
    this.ports.log(`ffmpeg ended (${this.#lastWords || 'no message'})${delayMs === undefined ? ', giving up' : ''}`);
    if (delayMs === undefined) {
      this.ports.gaveUp();
      return;
    }
    this.#retryTimer = setTimeout(
      () =>
        this.#run(
          () => this.ports.log('ffmpeg is pushing again'),
          () => undefined,
        ),
      delayMs,
    );
  }
}
