import { existsSync, readFileSync } from 'node:fs';

/** @typedef {{ passed: number, failed: number, skipped: number }} SpecCounts */

/**
 * Reads the counts that a run of specs has written. A run that ended before it wrote them counts as a failure.
 *
 * @param {string} file
 * @param {boolean} endedWell
 * @returns {SpecCounts}
 */
export function readSpecCounts(file, endedWell) {
  if (!existsSync(file)) return { passed: 0, failed: 1, skipped: 0 };
  /** @type {SpecCounts} */
  const counts = JSON.parse(readFileSync(file, 'utf8'));
  return { ...counts, failed: counts.failed + (!endedWell && counts.failed === 0 ? 1 : 0) };
}

/**
 * The last line of a test run.
 *
 * @param {SpecCounts} counts
 */
export const summaryLine = ({ passed, failed, skipped }) =>
  `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
