import { createHash } from 'node:crypto';
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
      const heldBy = linkIfAbsent(own, path) ? undefined : succeed(own, path);
      if (heldBy === undefined) return { lock: { release: () => release(path, self) } };
      if (heldBy !== 'changed') return { heldBy };
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
 * Takes the lock of a process that is gone. Several contenders may find it gone at the same time. The one that creates
 * the file `<path>.after.<the process that is gone>` is the only successor, because a process that is gone never takes a
 * lock again. A successor that ends before its own file is in the lock's place is succeeded in the same way. Afterwards
 * the lock is read again: another contender may have succeeded and removed these files long ago.
 *
 * @param {string} own
 * @param {string} path
 * @returns {ProcessIdentity | 'changed' | undefined} who has the lock; undefined: it is ours
 */
function succeed(own, path) {
  const gone = readText(path);
  const marks = [];
  for (let text = gone; text !== undefined; text = readText(marks.at(-1) ?? path)) {
    const holder = holderIn(text);
    if (holder !== undefined && isAlive(holder)) return holder;
    const mark = `${path}.after.${createHash('sha256').update(text).digest('hex').slice(0, 16)}`;
    marks.push(mark);
    if (!linkIfAbsent(own, mark)) continue;
    if (readText(path) !== gone) {
      rmSync(mark, { force: true });
      return 'changed';
    }
    renameSync(own, path);
    for (const old of marks) rmSync(old, { force: true });
    return undefined;
  }
  return 'changed';
}

/** @param {string} path @param {ProcessIdentity} self */
function release(path, self) {
  const holder = holderIn(readText(path) ?? '');
  if (holder?.pid === self.pid && holder.startedAt === self.startedAt) rmSync(path, { force: true });
}

/** @param {string} path @returns {string | undefined} undefined if there is no such file */
function readText(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** @param {string} text @returns {ProcessIdentity | undefined} undefined if it is no lock's */
function holderIn(text) {
  try {
    const value = JSON.parse(text);
    return isProcessIdentity(value) ? value : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** @param {unknown} error */
const codeOf = (error) => (error instanceof Error && 'code' in error ? error.code : undefined);
