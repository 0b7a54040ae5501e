import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { constants as osConstants } from 'node:os';
import { delimiter, isAbsolute, join } from 'node:path';

const OUTPUT_TAIL_LINES = 40;
const HEARTBEAT_MS = 10_000;
/** @type {readonly NodeJS.Signals[]} */
const ENDING_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** @typedef {(line: string) => void} Log */

/** What went wrong in a set-up, told so that a person can act on it: shown without a stack. */
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
 * Runs a command to its end, telling every ten seconds how far it is. Its output is kept and shown only if it fails.
 * A signal that ends this process ends the command with all its children first.
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
export async function run(what, [file, ...args], { log, cwd, env, progress, onLine }) {
  const startedAtMs = Date.now();
  log(`${what} ...`);
  /** @type {string[]} */
  const tail = [];
  const heartbeat = setInterval(() => {
    const detail = progress?.() ?? '';
    log(`${what} ... ${detail === '' ? '' : `${detail}, `}${seconds(Date.now() - startedAtMs)}`);
  }, HEARTBEAT_MS);
  /** @type {(signal: NodeJS.Signals) => void} */
  let forward = () => {};
  /** @type {NodeJS.Signals | undefined} */
  let endedBy;
  try {
    const end = await new Promise((resolve, reject) => {
      // A process group of its own: the signal reaches what the command has started, too.
      const child = spawn(file, args, {
        cwd,
        env: env ?? process.env,
        stdio: ['ignore', 'pipe', 'pipe'],
        detached: true,
      });
      forward = (signal) => {
        endedBy = signal;
        if (child.pid !== undefined) process.kill(-child.pid, signal);
      };
      for (const signal of ENDING_SIGNALS) process.on(signal, forward);
      for (const stream of [child.stdout, child.stderr]) {
        let rest = '';
        stream.setEncoding('utf8').on('data', (/** @type {string} */ chunk) => {
          const lines = (rest + chunk).split(/\r?\n|\r/);
          rest = lines.pop() ?? '';
          for (const line of lines) {
            onLine?.(line);
            tail.push(line);
            if (tail.length > OUTPUT_TAIL_LINES) tail.shift();
          }
        });
        stream.on('end', () => rest !== '' && tail.push(rest));
      }
      child.on('error', reject);
      child.on('close', (code, signal) => resolve({ code, signal }));
    });
    if (endedBy !== undefined) process.exit(128 + osConstants.signals[endedBy]);
    if (end.code !== 0)
      throw new SetupError(
        `${what} failed (${end.signal === null ? `status ${end.code}` : `signal ${end.signal}`}): ` +
          `${[file, ...args].join(' ')}\n${tail.join('\n')}`,
      );
  } catch (error) {
    if (error instanceof SetupError) throw error;
    throw new SetupError(`${what} failed: ${error instanceof Error ? error.message : String(error)}`);
  } finally {
    clearInterval(heartbeat);
    for (const signal of ENDING_SIGNALS) process.off(signal, forward);
  }
  log(`${what}: done, ${seconds(Date.now() - startedAtMs)}`);
}

/** @param {string} file @param {...string} args */
export const succeeds = (file, ...args) => spawnSync(file, args, { stdio: 'ignore' }).status === 0;

/**
 * The path of a program, looked for in PATH and in the folders for the system's own programs, which are in PATH for
 * root only.
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
    return false; // not there, or not for us
  }
}
