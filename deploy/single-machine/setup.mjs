// Makes a fresh clone ready to run: node deploy/single-machine/setup.mjs [--test]
// It depends only on Node, because it runs before anything is installed.
import './setup/node-version.mjs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildMediasoupWorker, missingBuildPackages, obtainMediasoupWorker } from '../mediasoup-worker/worker.mjs';
import { ensureBuild } from './setup/build.mjs';
import { checkout } from './setup/checkout.mjs';
import { SetupError } from './setup/command.mjs';
import { waitForLock } from './setup/file-lock.mjs';
import { ensureNodePackages } from './setup/node-packages.mjs';
import {
  canInstall,
  CHROMIUM,
  COTURN,
  CURL,
  FFMPEG,
  FIREFOX,
  installSystemPackages,
  isInstalled,
  NATS,
  OPENSSL,
  PEERS,
  REDIS,
  TEST_HOSTS,
} from './setup/system-packages.mjs';

/**
 * Installs, downloads, generates and builds whatever is missing.
 *
 * @param {{ purpose: 'start' | 'test', log: import('./setup/command.mjs').Log }} options a test needs every server
 *   and a browser; a start needs only the servers for which its settings name no other
 * @returns {Promise<{ mediasoupWorker: string }>} the path of the media worker
 */
export async function setUp({ purpose, log }) {
  const lock = await waitForLock(join(checkout, '.nx/weir-setup.lock'), {
    onWait: ({ pid }) => log(`process ${pid} is setting up this checkout, waiting ...`),
  });
  try {
    const missing = neededPackages(purpose).filter((systemPackage) => !isInstalled(systemPackage));
    const obtainedWorker = await obtainMediasoupWorker({ log });
    const buildPackages = obtainedWorker === undefined ? missingBuildPackages() : [];
    const packages = [...missing.map(({ debian }) => debian), ...buildPackages];
    if (packages.length > 0)
      await installSystemPackages(packages, {
        log,
        elsewhere: [
          ...missing.map(({ elsewhere }) => elsewhere),
          ...(buildPackages.length > 0
            ? [
                'a mediasoup worker, named by MEDIASOUP_WORKER_BIN, or what is needed to build it: a C++ compiler, ' +
                  'binutils, meson, ninja, pkg-config, flatc and the development files of libuv, OpenSSL 3, ' +
                  'libsrtp 2, abseil and flatbuffers',
              ]
            : []),
        ],
      });
    await ensureNodePackages({ log });
    const mediasoupWorker = obtainedWorker ?? (await buildMediasoupWorker({ log }));
    await ensureBuild({ log });
    return { mediasoupWorker };
  } finally {
    lock.release();
  }
}

/** @param {'start' | 'test'} purpose */
function neededPackages(purpose) {
  // Tests with a peer that can't be installed are skipped, and say so.
  if (purpose === 'test')
    return [
      FFMPEG,
      NATS,
      REDIS,
      CHROMIUM,
      COTURN,
      OPENSSL,
      CURL,
      ...(canInstall() ? [...PEERS, ...FIREFOX, ...TEST_HOSTS] : []),
    ];
  return [
    ...(process.env['FFMPEG_BIN'] ? [] : [FFMPEG]),
    ...(process.env['NATS_URL'] ? [] : [NATS]),
    ...(process.env['REDIS_URL'] ? [] : [REDIS]),
    ...(process.env['WEIR_TURN'] === '1' ? [COTURN] : []),
  ];
}

/** A log of lines that begin with the time since the start. */
export function timedLog() {
  const startedAtMs = Date.now();
  return (/** @type {string} */ line) => {
    console.log(`[${((Date.now() - startedAtMs) / 1_000).toFixed(1).padStart(6)} s] ${line}`);
  };
}

if (process.argv[1] !== undefined && fileURLToPath(import.meta.url) === resolve(process.argv[1])) {
  try {
    await setUp({ purpose: process.argv.includes('--test') ? 'test' : 'start', log: timedLog() });
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.error(`\n${error.message}`);
    process.exitCode = 1;
  }
}
