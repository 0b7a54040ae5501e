import { execFileSync } from 'node:child_process';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';
import { version as mediasoupVersion } from 'mediasoup';

/** What figures depend on beside the code. */
export interface MachineFacts {
  cores: number;
  cpu: string;
  memoryGib: number;
  kernel: string;
  node: string;
  chromium: string;
  mediasoup: string;
  /** With `+` behind it when the checkout had changes. */
  commit: string;
  /** Processes that wanted to run, averaged over a minute: before anything was started, whatever else ran. */
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

/** Of a program that may not be there: a checkout from an archive has no commit. */
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
