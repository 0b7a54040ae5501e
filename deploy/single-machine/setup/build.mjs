import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { checkout } from './checkout.mjs';
import { run } from './command.mjs';

const SOURCE_FOLDERS = ['services', 'libs', 'proto', 'deploy/single-machine/src', 'deploy/robot-simulator'];
const SOURCE_FILES = [
  'package-lock.json',
  'nx.json',
  'tsconfig.base.json',
  'deploy/single-machine/package.json',
  'deploy/single-machine/tsconfig.lib.json',
];
const NOT_SOURCES = new Set(['node_modules', 'dist', 'out-tsc', 'gen', 'generated', 'test-output', '.nx']);

/** Makes Nx work without its daemon, which would outlive this process, and without its full-screen display. */
export const nxEnvironment = { ...process.env, NX_DAEMON: 'false', NX_TUI: 'false' };
export const nxProgram = join(checkout, 'node_modules/.bin/nx');
export const NX_OPTIONS = ['--parallel=2', '--outputStyle=static', '--skipSync'];
const tscProgram = join(checkout, 'node_modules/.bin/tsc');

/**
 * Generates code and compiles everything that the single machine runs. Does nothing, and starts nothing, if neither
 * the sources nor the results have changed since the last time.
 *
 * @param {{ log: import('./command.mjs').Log }} options
 */
export async function ensureBuild({ log }) {
  const stampFile = join(checkout, 'node_modules/.cache/weir/build.json');
  const before = existsSync(stampFile) ? readFileSync(stampFile, 'utf8') : '';
  const sources = sourcesHash();
  if (before === stamp(sources)) return;
  await run('generating code', [process.execPath, nxProgram, 'run-many', '-t', 'generate', ...NX_OPTIONS], {
    log,
    cwd: checkout,
    env: nxEnvironment,
  });
  // tsc builds every program. Nx considers only projects buildable that others can import.
  const programs = projects().filter((project) => !project.startsWith('libs/'));
  await run('compiling', [process.execPath, tscProgram, '--build', ...programs.map(libraryConfig)], {
    log,
    cwd: checkout,
  });
  mkdirSync(dirname(stampFile), { recursive: true });
  writeFileSync(stampFile, stamp(sources));
}

/** @param {string} sources */
const stamp = (sources) => JSON.stringify({ node: process.version, sources, outputs: outputTimes() });

function sourcesHash() {
  const hash = createHash('sha256');
  const files = SOURCE_FOLDERS.flatMap((folder) => [...filesIn(folder)]).concat(SOURCE_FILES);
  for (const file of files.filter((name) => !name.endsWith('.spec.ts')).sort())
    hash
      .update(file)
      .update('\0')
      .update(readFileSync(join(checkout, file)))
      .update('\0');
  return hash.digest('hex');
}

/** The folders of all projects that are compiled. */
export const projects = () => [
  ...SOURCE_FOLDERS.flatMap((folder) => [...filesIn(folder)])
    .filter((file) => file.endsWith('/tsconfig.lib.json'))
    .map(dirname)
    .sort(),
  'deploy/single-machine',
];

/** @param {string} project */
const libraryConfig = (project) => `${project}/tsconfig.lib.json`;

/** When each project was last compiled; null if it isn't. */
const outputTimes = () =>
  Object.fromEntries(
    projects().map((project) => [project, timeOf(join(checkout, project, 'dist/tsconfig.lib.tsbuildinfo'))]),
  );

/** @param {string} path */
const timeOf = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? null;

/** @param {string} folder @returns {Generator<string>} paths relative to the checkout */
function* filesIn(folder) {
  for (const entry of readdirSync(join(checkout, folder), { withFileTypes: true })) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) {
      if (!NOT_SOURCES.has(entry.name)) yield* filesIn(path);
    } else if (entry.isFile()) yield path;
  }
}
