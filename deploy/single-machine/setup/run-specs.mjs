// Runs specs with vitest and writes the counts of their results:
//   node run-specs.mjs <file for the counts> <projects, separated by commas> [filter ...]
import { writeFileSync } from 'node:fs';
import { startVitest } from 'vitest/node';
import { checkout } from './checkout.mjs';

const [countsFile = '', projects = '', ...filters] = process.argv.slice(2);

/** @type {import('./spec-counts.mjs').SpecCounts} */
const counts = { passed: 0, failed: 0, skipped: 0 };

/** @type {import('vitest/reporters').Reporter} */
const counter = {
  onTestRunEnd(modules, unhandledErrors) {
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === 'passed') counts.passed++;
        else if (state === 'failed') counts.failed++;
        else counts.skipped++;
      }
      // A file or a suite can also fail outside its tests: while it is loaded or in a hook.
      counts.failed += module.errors().length;
      for (const suite of module.children.allSuites()) counts.failed += suite.errors().length;
    }
    counts.failed += unhandledErrors.length;
    writeFileSync(countsFile, JSON.stringify(counts));
  },
};

const vitest = await startVitest('test', filters, {
  root: checkout,
  config: false,
  watch: false,
  projects: projects.split(','),
  reporters: ['default', counter],
  passWithNoTests: true,
  maxWorkers: 2,
});
await vitest.close();
