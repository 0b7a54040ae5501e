import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { countsOf, readSpecCounts, summaryLine, type SpecFile } from '../setup/spec-counts.mjs';

const folder = mkdtempSync(join(tmpdir(), 'weir-counts-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = join(folder, 'counts.json');
const NONE = { passed: 0, failed: 0, skipped: 0, unsteady: [] };

it('a run that wrote nothing is a failure', () => {
  expect(readSpecCounts(join(folder, 'none'), true)).toEqual({ ...NONE, failed: 1 });
});

it('a run that ended badly is a failure even if no test failed', () => {
  writeFileSync(file, JSON.stringify({ ...NONE, passed: 5 }));
  expect(readSpecCounts(file, false)).toEqual({ ...NONE, passed: 5, failed: 1 });
  expect(readSpecCounts(file, true)).toEqual({ ...NONE, passed: 5 });
});

it('the summary mentions skipped and unsteady tests only if there are any', () => {
  expect(summaryLine({ ...NONE, passed: 5 })).toBe('5 passed, 0 failed');
  expect(summaryLine({ passed: 5, failed: 1, skipped: 2, unsteady: ['a'] })).toBe(
    '5 passed, 1 failed, 2 skipped, 1 unsteady',
  );
});

const fileOf = (name: string, states: readonly SpecFile['tests'][number]['state'][], errors = 0): SpecFile => ({
  ...{ id: name, name, errors },
  tests: states.map((state, index) => ({ name: `${name} ${index}`, state })),
});

it('a test that fails twice is a failure, one that passes alone is named as unsteady', () => {
  const first = [fileOf('a', ['passed', 'failed', 'failed', 'skipped']), fileOf('b', ['passed'])];
  expect(countsOf([first], 0)).toEqual({ passed: 2, failed: 2, skipped: 1, unsteady: [] });
  const again = [fileOf('a', ['passed', 'failed', 'passed', 'skipped'])];
  expect(countsOf([first, again], 0)).toEqual({ passed: 3, failed: 1, skipped: 1, unsteady: ['a 2'] });
});

it('a file that failed outside its tests is unsteady too, and errors that belong to no file stay failures', () => {
  const runs = [[fileOf('a', ['skipped'], 1)], [fileOf('a', ['passed'])]];
  expect(countsOf(runs, 0)).toEqual({ passed: 1, failed: 0, skipped: 0, unsteady: ['a (outside its tests)'] });
  expect(countsOf(runs, 2)).toMatchObject({ failed: 2 });
});
