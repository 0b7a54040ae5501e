import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { readSpecCounts, summaryLine } from '../setup/spec-counts.mjs';

const folder = mkdtempSync(join(tmpdir(), 'weir-counts-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = join(folder, 'counts.json');

it('a run that wrote nothing is a failure', () => {
  expect(readSpecCounts(join(folder, 'none'), true)).toEqual({ passed: 0, failed: 1, skipped: 0 });
});

it('a run that ended badly is a failure even if no test failed', () => {
  writeFileSync(file, JSON.stringify({ passed: 5, failed: 0, skipped: 0 }));
  expect(readSpecCounts(file, false)).toEqual({ passed: 5, failed: 1, skipped: 0 });
  expect(readSpecCounts(file, true)).toEqual({ passed: 5, failed: 0, skipped: 0 });
});

it('the summary mentions skipped tests only if there are any', () => {
  expect(summaryLine({ passed: 5, failed: 0, skipped: 0 })).toBe('5 passed, 0 failed');
  expect(summaryLine({ passed: 5, failed: 1, skipped: 2 })).toBe('5 passed, 1 failed, 2 skipped');
});
