import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';

const FFMPEG = process.env['FFMPEG_BIN'] ?? 'ffmpeg';
/** Without this, an ffmpeg that begins to read in the middle of a GOP prints meaningless errors. */
const QUIET = ['-hide_banner', '-nostdin', '-loglevel', 'fatal'];

/** Runs ffmpeg until it ends by itself. @throws if it fails */
export const runFfmpeg = async (args: readonly string[]): Promise<void> => {
  await promisify(execFile)(FFMPEG, [...QUIET, ...args]);
};

/** An ffmpeg that runs until it is stopped. */
export class FfmpegProcess {
  private constructor(
    readonly pid: number,
    private readonly child: ChildProcess,
  ) {}

  static start(args: readonly string[]): FfmpegProcess {
    const child = spawn(FFMPEG, [...QUIET, ...args], { stdio: ['ignore', 'ignore', 'inherit'] });
    if (child.pid === undefined) throw new Error('ffmpeg has no process');
    return new FfmpegProcess(child.pid, child);
  }

  get hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  async stop(): Promise<void> {
    if (this.hasEnded) return;
    const exited = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exited;
  }
}
