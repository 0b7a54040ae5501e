// Runs specs with vitest and writes the counts of their results:
//   node run-specs.mjs <file for the counts> <projects, separated by commas> [filter ...]
// If only a few files fail, they run once more, one after the other and with nothing beside them, so that a busy
// machine can't be the cause. Tests that pass then count as passed and are named as unsteady.
import { writeFileSync } from 'node:fs';
import { createVitest } from 'vitest/node';
import { checkout } from './checkout.mjs';
import { countsOf, MAX_FILES_RUN_AGAIN } from './spec-counts.mjs';

/** @typedef {import('vitest/node').TestModule} TestModule */

const [countsFile = '', projects = '', ...filters] = process.argv.slice(2);

/** Each run's files. @type {TestModule[][]} */
const runs = [];
/** Errors that belong to no test. */
let strayErrors = 0;

/** @type {import('vitest/reporters').Reporter} */
const recorder = {
  onTestRunEnd(modules, unhandledErrors) {
    runs.push([...modules]);
    strayErrors += unhandledErrors.length;
    writeFileSync(
      countsFile,
      JSON.stringify(
        countsOf(
          runs.map((run) => run.map(fileOf)),
          strayErrors,
        ),
      ),
    );
  },
};

const vitest = await createVitest('test', {
  root: checkout,
  config: false,
  watch: false,
  projects: projects.split(','),
  reporters: ['default', recorder],
  passWithNoTests: true,
  maxWorkers: 2,
});
try {
  await vitest.start(filters);
} catch (error) {
  // A filter may match nothing in one group of specs; test.mjs sees to it that it matches something at all.
  if (!(error instanceof Error && 'code' in error && error.code === 'VITEST_FILES_NOT_FOUND')) throw error;
}
const failed = (runs[0] ?? []).filter((module) => !module.ok());
if (failed.length > 0 && failed.length <= MAX_FILES_RUN_AGAIN && strayErrors === 0) {
  console.log(`\nOnce more, alone: ${failed.map(({ relativeModuleId }) => relativeModuleId).join(', ')}`);
  for (const module of failed) await vitest.runTestSpecifications([module.toTestSpecification()]);
}
const counts = countsOf(
  runs.map((run) => run.map(fileOf)),
  strayErrors,
);
for (const name of counts.unsteady) console.log(`UNSTEADY, failed at first and passed alone: ${name}`);
await vitest.close();
process.exitCode = counts.failed > 0 ? 1 : 0;

/**
 * @param {TestModule} module
 * @returns {import('./spec-counts.mjs').SpecFile}
 */
function fileOf(module) {
  const tests = [...module.children.allTests()].map((test) => ({
    name: `${module.relativeModuleId}: ${test.fullName}`,
    state: test.result().state,
  }));
  // A file or a suite can also fail outside its tests: while it is loaded or in a hook.
  const errors = [module, ...module.children.allSuites()].flatMap((part) => part.errors()).length;
  return { id: module.moduleId, name: module.relativeModuleId, tests, errors };
}
