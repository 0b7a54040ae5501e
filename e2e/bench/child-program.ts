import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/** A program that runs in a separate process: so its processor time is counted separately, and nothing here delays it. */
export class ChildProgram<Ready> {
  private constructor(
    readonly pid: number,
    /** What it sent when it was ready. */
    readonly ready: Ready,
    private readonly child: ChildProcess,
  ) {}

  /** @param name of the file, seen from this folder and without extension */
  static async start<Ready>(name: string, args: readonly string[] = []): Promise<ChildProgram<Ready>> {
    const child = fork(new URL(`./${name}.js`, import.meta.url), args, { execArgv: [] });
    const ended = once(child, 'exit').then(([status, signal]) => {
      throw new Error(`${name} ended with ${String(signal ?? status)}`);
    });
    const [ready] = (await Promise.race([once(child, 'message'), ended])) as [Ready];
    ended.catch(() => undefined); // from now on, its clients notice its end
    if (child.pid === undefined) throw new Error(`${name} has no process`);
    return new ChildProgram(child.pid, ready, child);
  }

  async stop(): Promise<void> {
    if (!this.child.connected) return;
    const exited = once(this.child, 'exit');
    this.child.disconnect();
    await exited;
  }
}

/** Called by the program: reports that it is ready, and ends it when its parent disconnects or ends. */
export function announce(ready: object): void {
  process.on('disconnect', () => process.exit());
  process.send?.(ready);
}
