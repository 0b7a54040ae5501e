import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/**
 * Identifies a process in a file. A pid alone may meanwhile belong to another process, so the time of the start is kept
 * with it, in a form that is comparable only on the same machine.
 *
 * @typedef {{ pid: number, startedAt: string }} ProcessIdentity
 */

/**
 * @param {number} pid
 * @returns {ProcessIdentity | undefined} undefined if there is no such living process; a zombie doesn't count
 */
export function identify(pid) {
  const startedAt = process.platform === 'linux' ? startFromProc(pid) : startFromPs(pid);
  return startedAt === undefined ? undefined : { pid, startedAt };
}

/** @param {ProcessIdentity} identity */
export const isAlive = (identity) => identify(identity.pid)?.startedAt === identity.startedAt;

/** @param {unknown} value @returns {value is ProcessIdentity} */
export const isProcessIdentity = (value) =>
  typeof value === 'object' &&
  value !== null &&
  'pid' in value &&
  Number.isSafeInteger(value.pid) &&
  'startedAt' in value &&
  typeof value.startedAt === 'string';

/** @param {number} pid */
function startFromProc(pid) {
  const stat = readIfThere(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  // The second field is the program's name in parentheses and may contain anything, so the fields are counted from its
  // end: field 3 is the state, field 22 the start in clock ticks since boot.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
  return `${bootId()}:${fields[19]}`;
}

/** @param {number} pid */
function startFromPs(pid) {
  try {
    const [state, ...start] = execFileSync('ps', ['-o', 'stat=,lstart=', '-p', String(pid)], { encoding: 'utf8' })
      .trim()
      .split(/\s+/);
    return state === undefined || state === '' || state.startsWith('Z') ? undefined : start.join(' ');
  } catch {
    return undefined; // ps exits with 1 if there is no such process
  }
}

/** @type {string | undefined} */
let knownBootId;
const bootId = () => (knownBootId ??= readIfThere('/proc/sys/kernel/random/boot_id')?.trim() ?? 'boot');

/** @param {string} path */
function readIfThere(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined; // the process is gone, or the kernel doesn't show it
  }
}
