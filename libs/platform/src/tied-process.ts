import { spawn, spawnSync, type ChildProcess, type SpawnOptions } from 'node:child_process';

let setprivFound: boolean | undefined;

/** util-linux's `setpriv` can ask the kernel to end a process with its parent (prctl PR_SET_PDEATHSIG). */
function hasSetpriv(): boolean {
  setprivFound ??= spawnSync('setpriv', ['--pdeathsig', 'KILL', 'true'], { stdio: 'ignore' }).status === 0;
  return setprivFound;
}

/**
 * Starts a program that ends when this process ends, even by kill -9, so that no ffmpeg outlives its service. Where
 * `setpriv` is missing it starts an ordinary child. No shell is involved: the arguments are a list.
 */
export const spawnTied = (program: string, args: readonly string[], options: SpawnOptions): ChildProcess =>
  hasSetpriv()
    ? spawn('setpriv', ['--pdeathsig', 'KILL', program, ...args], options)
    : spawn(program, [...args], options);
