import { existsSync, readFileSync } from 'node:fs';

/** `unsteady`: the names of tests that failed, and passed when their file ran again alone. They count as passed. */
/** @typedef {{ passed: number, failed: number, skipped: number, unsteady: string[] }} SpecCounts */
/** @typedef {{ name: string, state: 'passed' | 'failed' | 'skipped' | 'pending' }} SpecTest */
/** One run of one file; `errors` belong to none of its tests. */
/** @typedef {{ id: string, name: string, tests: SpecTest[], errors: number }} SpecFile */

/** If more files than this fail, that isn't chance. */
export const MAX_FILES_RUN_AGAIN = 3;

/**
 * The result of each file is that of its last run.
 *
 * @param {SpecFile[][]} runs
 * @param {number} strayErrors errors that belong to no file
 * @returns {SpecCounts}
 */
export function countsOf(runs, strayErrors) {
  /** @type {Map<string, SpecFile>} */
  const last = new Map();
  /** @type {Set<string>} */
  const failedOnce = new Set();
  /** @type {string[]} */
  const unsteady = [];
  for (const file of runs.flat()) {
    const before = last.get(file.id);
    if (before !== undefined && before.errors > 0 && file.errors === 0)
      unsteady.push(`${file.name} (outside its tests)`);
    for (const { name, state } of file.tests) {
      if (state === 'failed') failedOnce.add(name);
      else if (state === 'passed' && failedOnce.has(name)) unsteady.push(name);
    }
    last.set(file.id, file);
  }
  const counts = { passed: 0, failed: strayErrors, skipped: 0, unsteady };
  for (const { tests, errors } of last.values()) {
    counts.failed += errors;
    for (const { state } of tests) counts[state === 'pending' ? 'skipped' : state]++;
  }
  return counts;
}

/**
 * Reads the counts that a run of specs has written. A run that ended before it wrote them counts as a failure.
 *
 * @param {string} file
 * @param {boolean} endedWell
 * @returns {SpecCounts}
 */
export function readSpecCounts(file, endedWell) {
  if (!existsSync(file)) return { passed: 0, failed: 1, skipped: 0, unsteady: [] };
  /** @type {SpecCounts} */
  const counts = JSON.parse(readFileSync(file, 'utf8'));
  return { ...counts, failed: counts.failed + (!endedWell && counts.failed === 0 ? 1 : 0) };
}

/**
 * The last line of a test run.
 *
 * @param {SpecCounts} counts
 */
export const summaryLine = ({ passed, failed, skipped, unsteady }) =>
  [
    `${passed} passed, ${failed} failed`,
    ...(skipped > 0 ? [`${skipped} skipped`] : []),
    ...(unsteady.length > 0 ? [`${unsteady.length} unsteady`] : []),
  ].join(', ');
