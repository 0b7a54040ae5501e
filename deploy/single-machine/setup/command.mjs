import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { constants as osConstants } from 'node:os';
import { delimiter, isAbsolute, join } from 'node:path';
import { createInterface } from 'node:readline';

/** How much of a failed command's output is shown: some commands report the cause first, others last. */
const OUTPUT_HEAD_LINES = 10;
const OUTPUT_TAIL_LINES = 30;
const HEARTBEAT_MS = 10_000;
/** @type {readonly NodeJS.Signals[]} */
const ENDING_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** @typedef {(line: string) => void} Log */

/** What went wrong in a set-up, in words that the user can act on; shown without a stack. */
export class SetupError extends Error {
  /** @override */
  name = 'SetupError';
}

/** @param {number} durationMs */
export const seconds = (durationMs) =>
  durationMs < 60_000
    ? `${(durationMs / 1_000).toFixed(durationMs < 10_000 ? 1 : 0)} s`
    : `${Math.floor(durationMs / 60_000)} min ${Math.round((durationMs % 60_000) / 1_000)} s`;

/**
 * Runs a command to its end and logs every ten seconds how far it is. Its output is shown only if it fails.
 *
 * @param {string} what for the progress lines, e.g. "npm ci"
 * @param {[string, ...string[]]} command
 * @param {{
 *   log: Log,
 *   cwd?: string,
 *   env?: NodeJS.ProcessEnv,
 *   progress?: () => string,
 *   onLine?: (line: string) => void,
 * }} options `progress` says how far it is; `onLine` sees each line of the output
 */
export async function run(what, command, { log, cwd, env, progress, onLine }) {
  const startedAtMs = Date.now();
  log(`${what} ...`);
  /** @type {string[]} */
  const head = [];
  /** @type {string[]} */
  const tail = [];
  const heartbeat = setInterval(() => {
    const detail = progress?.() ?? '';
    log(`${what} ... ${detail === '' ? '' : `${detail}, `}${seconds(Date.now() - startedAtMs)}`);
  }, HEARTBEAT_MS);
  const end = await execute(command, {
    cwd,
    env,
    onLine: (line) => {
      onLine?.(line);
      if (head.length < OUTPUT_HEAD_LINES) head.push(line);
      else tail.push(line);
      if (tail.length > OUTPUT_TAIL_LINES) tail.splice(0, 2, '...');
    },
  }).finally(() => clearInterval(heartbeat));
  if (!end.ok)
    throw new SetupError(`${what} failed (${end.how}): ${command.join(' ')}\n${[...head, ...tail].join('\n')}`);
  log(`${what}: done, ${seconds(Date.now() - startedAtMs)}`);
}

/**
 * Runs a command to its end. A signal that ends this process first ends the command and everything that it started.
 *
 * @param {[string, ...string[]]} command
 * @param {{
 *   cwd?: string | undefined,
 *   env?: NodeJS.ProcessEnv | undefined,
 *   timeoutMs?: number,
 *   onLine: (line: string) => void,
 * }} options `onLine` gets each line of the command's output
 * @returns {Promise<{ ok: boolean, how: string }>} `how` it ended, e.g. "status 1"
 */
export async function execute([file, ...args], { cwd, env, timeoutMs, onLine }) {
  // The command gets its own process group, so that a signal also reaches what it has started.
  const child = spawn(file, args, {
    cwd,
    env: env ?? process.env,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  /** @type {NodeJS.Signals | undefined} */
  let endedBy;
  const signalAll = (/** @type {NodeJS.Signals} */ signal) => {
    if (child.pid !== undefined && isThere(-child.pid)) process.kill(-child.pid, signal);
  };
  const forward = (/** @type {NodeJS.Signals} */ signal) => {
    endedBy = signal;
    signalAll(signal);
  };
  for (const signal of ENDING_SIGNALS) process.on(signal, forward);
  for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on('line', onLine);
  let timedOut = false;
  const timer =
    timeoutMs === undefined
      ? undefined
      : setTimeout(() => {
          timedOut = true;
          signalAll('SIGKILL');
        }, timeoutMs);
  try {
    /** @type {[number | null, NodeJS.Signals | null]} */
    const [status, signal] = await new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('exit', () => signalAll('SIGKILL')); // children that it left behind would keep its output open
      child.on('close', (...end) => resolve(end));
    });
    if (endedBy !== undefined) process.exit(128 + osConstants.signals[endedBy]);
    const how = timedOut ? `not done after ${seconds(timeoutMs ?? 0)}` : signal === null ? `status ${status}` : signal;
    return { ok: status === 0, how };
  } catch (error) {
    return { ok: false, how: error instanceof Error ? error.message : String(error) };
  } finally {
    clearTimeout(timer);
    for (const signal of ENDING_SIGNALS) process.off(signal, forward);
  }
}

/** @param {number} pid of a process; negative for a process group */
function isThere(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false; // gone
  }
}

/** @param {string} file @param {...string} args */
export const succeeds = (file, ...args) => spawnSync(file, args, { stdio: 'ignore' }).status === 0;

/**
 * The path of a program. It is looked for in PATH and in the folders of system programs, which only root has in its
 * PATH.
 *
 * @param {string} name
 */
export function findProgram(name) {
  if (isAbsolute(name)) return isExecutable(name) ? name : undefined;
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin'];
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

/** @param {string} path */
function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false; // it doesn't exist, or this user may not run it
  }
}
