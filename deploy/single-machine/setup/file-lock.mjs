import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { identify, isAlive, isProcessIdentity } from './process-identity.mjs';

const POLL_INTERVAL_MS = 500;
const WAIT_REPORT_INTERVAL_MS = 10_000;

/** @typedef {import('./process-identity.mjs').ProcessIdentity} ProcessIdentity */
/** @typedef {{ release: () => void }} FileLock */

/**
 * Takes the lock that a file stands for, unless a living process holds it. The lock of a process that has ended, in
 * whatever way, doesn't count.
 *
 * @param {string} path
 * @returns {{ lock: FileLock } | { heldBy: ProcessIdentity }}
 */
export function tryLock(path) {
  mkdirSync(dirname(path), { recursive: true });
  const self = identify(process.pid) ?? { pid: process.pid, startedAt: '' };
  const own = `${path}.${process.pid}`;
  writeFileSync(own, JSON.stringify(self), { mode: 0o600 });
  try {
    for (;;) {
      if (linkIfAbsent(own, path)) return { lock: { release: () => release(path, self) } };
      const holder = readHolder(path);
      if (holder !== undefined && isAlive(holder)) return { heldBy: holder };
      discardStale(path, holder);
    }
  } finally {
    rmSync(own, { force: true });
  }
}

/**
 * Waits until the lock is free and takes it.
 *
 * @param {string} path
 * @param {{ onWait?: (holder: ProcessIdentity) => void }} [options] `onWait` is called now and then with the holder
 * @returns {Promise<FileLock>}
 */
export async function waitForLock(path, { onWait } = {}) {
  let reportedAtMs = -Infinity;
  for (;;) {
    const result = tryLock(path);
    if ('lock' in result) return result.lock;
    if (Date.now() - reportedAtMs >= WAIT_REPORT_INTERVAL_MS) {
      reportedAtMs = Date.now();
      onWait?.(result.heldBy);
    }
    await delay(POLL_INTERVAL_MS);
  }
}

/** @param {string} from @param {string} to */
function linkIfAbsent(from, to) {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  }
}

/**
 * Two processes may find the same stale lock, and the slower one must not remove the lock that the faster one has
 * made meanwhile. So the file that was moved away is read again, and put back if it is such a new lock.
 *
 * @param {string} path
 * @param {ProcessIdentity | undefined} stale
 */
function discardStale(path, stale) {
  const aside = `${path}.stale.${process.pid}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return;
    throw error;
  }
  const moved = readHolder(aside);
  if (moved !== undefined && moved.startedAt !== stale?.startedAt && isAlive(moved)) linkIfAbsent(aside, path);
  rmSync(aside, { force: true });
}

/** @param {string} path @param {ProcessIdentity} self */
function release(path, self) {
  const holder = readHolder(path);
  if (holder?.pid === self.pid && holder.startedAt === self.startedAt) rmSync(path, { force: true });
}

/** @param {string} path @returns {ProcessIdentity | undefined} undefined if there is no lock or it can't be read */
function readHolder(path) {
  try {
    const value = JSON.parse(readFileSync(path, 'utf8'));
    return isProcessIdentity(value) ? value : undefined;
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** @param {unknown} error */
const codeOf = (error) => (error instanceof Error && 'code' in error ? error.code : undefined);
