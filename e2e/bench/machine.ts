import { execFileSync } from 'node:child_process';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';
import { version as mediasoupVersion } from 'mediasoup';

/** What the figures depend on, apart from the code. */
export interface MachineFacts {
  cores: number;
  cpu: string;
  memoryGib: number;
  kernel: string;
  node: string;
  chromium: string;
  mediasoup: string;
  /** Followed by `+` if the checkout had changes. */
  commit: string;
  /** The load average of one minute before anything was started: what else ran on the machine. */
  loadBefore: number;
}

export function machineFacts(): MachineFacts {
  return {
    cores: availableParallelism(),
    cpu: cpus()[0]?.model ?? 'unknown',
    memoryGib: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    chromium: output(process.env['CHROMIUM_BIN'] ?? '/usr/bin/chromium', '--version').replace(
      /^Chromium (\S+).*/s,
      '$1',
    ),
    mediasoup: mediasoupVersion,
    commit: output('git', 'rev-parse', 'HEAD') + (output('git', 'status', '--porcelain') === '' ? '' : '+'),
    loadBefore: loadavg()[0] ?? 0,
  };
}

/** The output of a program that may fail or be missing; for example, a checkout from an archive has no commit. */
function output(file: string, ...args: string[]): string {
  try {
    return execFileSync(file, args, {
      encoding: 'utf8',
      cwd: import.meta.dirname,
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return 'unknown';
  }
}
