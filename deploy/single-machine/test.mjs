// npm test: sets up what is missing, then checks everything, the quick checks first. It goes on after a failure, and
// its last line counts all results. `npm test -- <text> ...` runs only the specs whose path contains one of the texts.
import './setup/node-version.mjs';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { timedLog, setUp } from './setup.mjs';
import { nxEnvironment, NX_OPTIONS, nxProgram } from './setup/build.mjs';
import { checkout } from './setup/checkout.mjs';
import { execute, seconds, SetupError } from './setup/command.mjs';
import { readSpecCounts, summaryLine } from './setup/spec-counts.mjs';

/** Twice what a slow machine needs, so it ends only what hangs. */
const SPECS_TIMEOUT_MS = 45 * 60_000;
const PROJECT_FOLDERS = ['libs', 'libs/protocols', 'services', 'deploy'];
const nx = (/** @type {string[]} */ ...args) => [process.execPath, nxProgram, ...args];

/** Each check counts as one test, passed or failed. @type {[string, string[]][]} */
const CHECKS = [
  ['formatting', [process.execPath, 'node_modules/.bin/prettier', '--check', '--log-level=warn', '.']],
  ['contract: lint', nx('run', '@weir/contracts:proto-lint')],
  ['contract: nothing breaking', nx('run', '@weir/contracts:proto-breaking')],
  ['lint', nx('run-many', '-t', 'lint', ...NX_OPTIONS, '--quiet')],
  ['types', [process.execPath, 'node_modules/.bin/tsc', '--build', ...projectFolders(), 'e2e']],
];

const startedAtMs = Date.now();
const filters = process.argv.slice(2);
/** @type {import('./setup/spec-counts.mjs').SpecCounts} */
const total = { passed: 0, failed: 0, skipped: 0, unsteady: [] };
/** @type {string[]} */
const failures = [];

try {
  const { mediasoupWorker } = await setUp({ purpose: 'test', log: timedLog() });
  process.env['MEDIASOUP_WORKER_BIN'] = mediasoupWorker;
  if (filters.length === 0) for (const [name, command] of CHECKS) await check(name, command);
  await specs('unit and integration', projectFolders().map(vitestConfig));
  const endToEnd = await specs('end to end', [vitestConfig('e2e')]);
  if (filters.length === 0 && endToEnd.passed + endToEnd.failed === 0) fail('end to end: nothing ran');
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.log(`\n${error.message}`);
  fail('set-up');
}

if (failures.length > 0) console.log(`\nFailed: ${failures.join(', ')}`);
if (total.unsteady.length > 0) console.log(['\nUnsteady:', ...total.unsteady].join('\n  '));
console.log(`\nTook ${seconds(Date.now() - startedAtMs)}.`);
console.log(summaryLine(total));
if (total.failed > 0 || total.passed === 0) process.exitCode = 1;

/** @param {string} name @param {string[]} command */
async function check(name, command) {
  const checkStartedAtMs = Date.now();
  /** @type {string[]} */
  const output = [];
  const [file = '', ...args] = command;
  const { ok, how } = await execute([file, ...args], {
    cwd: checkout,
    env: nxEnvironment,
    onLine: (line) => output.push(line),
  });
  console.log(`${ok ? 'ok    ' : 'FAILED'} ${name} (${ok ? '' : `${how}, `}${seconds(Date.now() - checkStartedAtMs)})`);
  if (ok) total.passed++;
  else {
    console.log(output.join('\n'));
    fail(name);
  }
}

/** @param {string} name @param {string[]} configs */
async function specs(name, configs) {
  const specsStartedAtMs = Date.now();
  console.log(`\n${name}`);
  const folder = mkdtempSync(join(tmpdir(), 'weir-test-'));
  try {
    const countsFile = join(folder, 'counts.json');
    const { ok, how } = await execute(
      [process.execPath, join(import.meta.dirname, 'setup/run-specs.mjs'), countsFile, configs.join(','), ...filters],
      { cwd: checkout, timeoutMs: SPECS_TIMEOUT_MS, onLine: (line) => console.log(line) },
    );
    const counts = readSpecCounts(countsFile, ok);
    total.passed += counts.passed;
    total.failed += counts.failed;
    total.skipped += counts.skipped;
    total.unsteady.push(...counts.unsteady);
    if (counts.failed > 0) failures.push(ok ? name : `${name} (${how})`);
    console.log(`${name}: ${summaryLine(counts)} (${seconds(Date.now() - specsStartedAtMs)})`);
    return counts;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** @param {string} project */
function vitestConfig(project) {
  return `${project}/vitest.config.mts`;
}

/** @param {string} what */
function fail(what) {
  total.failed++;
  failures.push(what);
}

/** Every project except the end-to-end tests. */
function projectFolders() {
  return PROJECT_FOLDERS.flatMap((folder) =>
    readdirSync(join(checkout, folder)).map((name) => `${folder}/${name}`),
  ).filter((folder) => existsSync(join(checkout, folder, 'tsconfig.json')));
}
