// Finds, downloads or builds a mediasoup worker that runs on this machine, and prints its path:
//   node deploy/mediasoup-worker/worker.mjs
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createWriteStream, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { homedir, release as kernelRelease } from 'node:os';
import { dirname, extname, join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { run, seconds, SetupError, succeeds } from '../single-machine/setup/command.mjs';
import { waitForLock } from '../single-machine/setup/file-lock.mjs';

/** Debian's packages for building the worker. */
export const BUILD_PACKAGES = [
  'g++',
  'pkg-config',
  'meson',
  'ninja-build',
  'libuv1-dev',
  'libssl-dev',
  'libsrtp2-dev',
  'libabsl-dev',
  'libflatbuffers-dev',
  'flatbuffers-compiler',
];

const BUILD_PROGRAMS = ['c++', 'strip', 'meson', 'ninja', 'flatc', 'pkg-config'];
const BUILD_LIBRARIES = [
  'libuv >= 1.44',
  'openssl >= 3',
  'libsrtp2 >= 2.4',
  'flatbuffers',
  'absl_strings',
  'absl_optional',
];

const RELEASES_URL = 'https://github.com/versatica/mediasoup/releases/download';
/** How long the release server may take to begin its answer. */
const DOWNLOAD_ANSWER_TIMEOUT_MS = 15_000;
/** How long the whole download may take. */
const DOWNLOAD_TIMEOUT_MS = 180_000;
const DOWNLOAD_PROGRESS_INTERVAL_MS = 5_000;

const recipeFolder = import.meta.dirname;
const checkout = resolve(recipeFolder, '../..');
const packageFolder = join(checkout, 'node_modules/mediasoup');

/** @typedef {import('../single-machine/setup/command.mjs').Log} Log */

/**
 * Returns the first of these that runs: the binary that MEDIASOUP_WORKER_BIN names, the one that mediasoup's own
 * installation left in node_modules, the one in the cache, the release's prebuilt binary (downloaded into the cache), a
 * binary built from the sources inside the npm package (into the cache). Nothing is written into node_modules. Several
 * checkouts may call this at the same time: one works and the others wait for its result.
 *
 * @param {{ log: Log }} options
 * @returns {Promise<string>} the worker's path
 */
export async function ensureMediasoupWorker({ log }) {
  return (await obtainMediasoupWorker({ log })) ?? (await buildMediasoupWorker({ log }));
}

/**
 * The part of `ensureMediasoupWorker` that needs neither mediasoup's npm package nor build tools.
 *
 * @param {{ log: Log }} options
 * @returns {Promise<string | undefined>} undefined if there is no worker yet and none can be downloaded
 */
export async function obtainMediasoupWorker({ log }) {
  const given = process.env['MEDIASOUP_WORKER_BIN'];
  if (given !== undefined && given !== '') {
    if (isSound(given)) return resolve(given);
    throw new SetupError(`MEDIASOUP_WORKER_BIN=${given} isn't a mediasoup worker that runs here`);
  }
  const places = workerPlaces();
  const found = findSound(places);
  if (found !== undefined) return found;
  if (process.env['MEDIASOUP_SKIP_WORKER_PREBUILT_DOWNLOAD']) return undefined;
  return await alone(places, log, async () =>
    (await download(places.version, places.prebuilt, log)) ? places.prebuilt : undefined,
  );
}

/**
 * @param {{ log: Log }} options
 * @returns {Promise<string>} the worker's path
 */
export async function buildMediasoupWorker({ log }) {
  const places = workerPlaces();
  return await alone(places, log, async () => {
    await build(places.version, places.built, log);
    return places.built;
  });
}

/** @returns {readonly string[]} the Debian packages to install before a build; empty if the system has everything */
export const missingBuildPackages = () =>
  BUILD_PROGRAMS.every((program) => succeeds(program, '--version')) &&
  succeeds('pkg-config', '--exists', ...BUILD_LIBRARIES)
    ? []
    : BUILD_PACKAGES;

/** @typedef {ReturnType<typeof workerPlaces>} WorkerPlaces */

/** The places where this checkout's version of the worker may be. */
function workerPlaces() {
  /** @type {string} pinned exactly */
  const version = JSON.parse(readFileSync(join(checkout, 'package.json'), 'utf8')).dependencies.mediasoup;
  const cache = join(
    process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'),
    'weir/mediasoup-worker',
    `${version}-${process.platform}-${process.arch}`,
  );
  return {
    version,
    cache,
    stock: join(packageFolder, 'worker/out/Release/mediasoup-worker'),
    prebuilt: join(cache, 'prebuilt/mediasoup-worker'),
    built: join(cache, `built-${systemRelease()}-${recipeHash()}`, 'mediasoup-worker'),
  };
}

/** @param {WorkerPlaces} places */
const findSound = ({ stock, prebuilt, built }) => [stock, prebuilt, built].find(isSound);

/**
 * Does the work unless another process has just done it.
 *
 * @template {string | undefined} Path
 * @param {WorkerPlaces} places @param {Log} log @param {() => Promise<Path>} work
 */
async function alone(places, log, work) {
  const lock = await waitForLock(join(places.cache, 'lock'), {
    onWait: ({ pid }) => log(`mediasoup worker ${places.version}: process ${pid} is obtaining it, waiting ...`),
  });
  try {
    return findSound(places) ?? (await work());
  } finally {
    lock.release();
  }
}

/**
 * mediasoup's own check: without MEDIASOUP_VERSION in its environment, a working worker exits with status 41.
 *
 * @param {string} path
 */
const isSound = (path) => existsSync(path) && spawnSync(path, { env: {}, stdio: 'ignore' }).status === 41;

/** Identifies the release of the system, on whose libraries a build depends. */
function systemRelease() {
  const osRelease = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '';
  const value = (/** @type {string} */ key) => new RegExp(`^${key}="?([\\w.-]*)"?$`, 'm').exec(osRelease)?.[1];
  return `${value('ID') ?? process.platform}${value('VERSION_ID') ?? ''}`;
}

/** The hash of the recipe's content without comments and blank lines. */
function recipeHash() {
  const hash = createHash('sha256');
  const files = readdirSync(join(recipeFolder, 'overlay'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  for (const file of [join(recipeFolder, 'build.sh'), ...files]) {
    const comment = ['.h', '.c', '.cpp'].includes(extname(file)) ? '//' : '#';
    const lines = readFileSync(file, 'utf8').split('\n');
    const effective = lines.filter((line) => line.trim() !== '' && !line.trim().startsWith(comment));
    hash.update(file.slice(recipeFolder.length)).update('\0').update(effective.join('\n')).update('\0');
  }
  return hash.digest('hex').slice(0, 12);
}

/**
 * @param {string} version @param {string} target @param {Log} log
 * @returns {Promise<boolean>} whether the release has a binary that runs here
 */
async function download(version, target, log) {
  const kernel = process.platform === 'linux' ? `-kernel${kernelRelease().split('.')[0]}` : '';
  const base = process.env['MEDIASOUP_WORKER_PREBUILT_DOWNLOAD_BASE_URL'] || RELEASES_URL;
  const url = `${base}/${version}/mediasoup-worker-${version}-${process.platform}-${process.arch}${kernel}.tgz`;
  const folder = dirname(target);
  const arriving = `${folder}.${process.pid}`;
  log(`mediasoup worker ${version}: trying the prebuilt binary ${url}`);
  try {
    mkdirSync(arriving, { recursive: true });
    const archive = join(arriving, 'archive.tgz');
    await fetchInto(url, archive, log);
    const extracted = spawnSync('tar', ['-xzf', archive, '-C', arriving, 'mediasoup-worker'], { encoding: 'utf8' });
    if (extracted.status !== 0) throw new Error(`the archive can't be read: ${extracted.stderr ?? ''}`);
    rmSync(archive);
    if (!isSound(join(arriving, 'mediasoup-worker'))) throw new Error("it doesn't run on this system");
    rmSync(folder, { recursive: true, force: true });
    renameSync(arriving, folder);
    log(`mediasoup worker ${version}: prebuilt binary downloaded`);
    return true;
  } catch (error) {
    log(`mediasoup worker ${version}: no prebuilt binary (${reasonOf(error)})`);
    return false;
  } finally {
    rmSync(arriving, { recursive: true, force: true });
  }
}

/** @param {string} url @param {string} file @param {Log} log */
async function fetchInto(url, file, log) {
  const startedAtMs = Date.now();
  const abort = new AbortController();
  const whole = setTimeout(
    () => abort.abort(new Error(`took over ${seconds(DOWNLOAD_TIMEOUT_MS)}`)),
    DOWNLOAD_TIMEOUT_MS,
  );
  const answer = setTimeout(
    () => abort.abort(new Error(`no answer within ${seconds(DOWNLOAD_ANSWER_TIMEOUT_MS)}`)),
    DOWNLOAD_ANSWER_TIMEOUT_MS,
  );
  let receivedBytes = 0;
  /** @type {NodeJS.Timeout | undefined} */
  let progress;
  try {
    const response = await fetch(url, { signal: abort.signal });
    clearTimeout(answer);
    if (!response.ok || response.body === null) throw new Error(`status ${response.status}`);
    const megabytes = (/** @type {number} */ bytes) => (bytes / 1e6).toFixed(1);
    const total = Number(response.headers.get('content-length') ?? 0);
    progress = setInterval(
      () =>
        log(
          `mediasoup worker: ${megabytes(receivedBytes)} of ${total > 0 ? megabytes(total) : '?'} MB, ` +
            seconds(Date.now() - startedAtMs),
        ),
      DOWNLOAD_PROGRESS_INTERVAL_MS,
    );
    const counted = async function* (/** @type {AsyncIterable<Buffer>} */ chunks) {
      for await (const chunk of chunks) {
        receivedBytes += chunk.length;
        yield chunk;
      }
    };
    await pipeline(Readable.fromWeb(response.body), counted, createWriteStream(file), { signal: abort.signal });
  } finally {
    clearTimeout(answer);
    clearTimeout(whole);
    clearInterval(progress);
  }
}

/** @param {string} version @param {string} target @param {Log} log */
async function build(version, target, log) {
  if (missingBuildPackages().length > 0)
    throw new SetupError(
      'The mediasoup worker can be neither downloaded nor built here. The build needs a C++ compiler, binutils, ' +
        `meson, ninja, flatc, pkg-config and the libraries ${BUILD_LIBRARIES.join(', ')}\n` +
        `(Debian: apt-get install ${BUILD_PACKAGES.join(' ')}).\n` +
        'Or set MEDIASOUP_WORKER_BIN to a worker of this version.',
    );
  const installed = existsSync(packageFolder)
    ? JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8')).version
    : 'none';
  if (installed !== version)
    throw new SetupError(`mediasoup ${version} is needed and ${installed} is installed: run npm ci first`);

  // Removes what a killed build left behind. The lock ensures that nobody else is building.
  const folder = dirname(target);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const logFile = createWriteStream(join(folder, 'build.log'));
  let step = '';
  try {
    log(`mediasoup worker ${version}: building from source, about 4 minutes on 2 cores`);
    await run(`mediasoup worker ${version}: build`, ['bash', join(recipeFolder, 'build.sh'), packageFolder, target], {
      log,
      progress: () => step,
      onLine: (line) => {
        logFile.write(`${line}\n`);
        step = /^\[\d+\/\d+\]/.exec(line)?.[0] ?? step;
      },
    });
  } finally {
    await new Promise((done) => logFile.end(done));
  }
}

/** @param {unknown} error */
function reasonOf(error) {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? error.cause.message : error.message;
}

if (process.argv[1] !== undefined && fileURLToPath(import.meta.url) === resolve(process.argv[1])) {
  try {
    console.log(await ensureMediasoupWorker({ log: (line) => console.error(line) }));
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}
