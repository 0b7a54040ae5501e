import { mkdirSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { answerOf, answers, type BackingServer } from './backing-server.js';
import type { ServerOptions } from './nats.js';
import { requiredProgram } from './required-program.js';
import { writePrivateFile } from './secrets.js';

/** This much must be free before Redis writes its file again. */
const ROOM_FOR_FILE_BYTES = 16 * 1024 * 1024;
/** The answers to the password and to the command. */
const DONE = /^\+OK\r\n\+OK\r\n/;

/** Defines redis-server on loopback, with a password. Its data survive a restart, except those of the last second. */
export function redisServer({ folder, port, password, env }: ServerOptions): BackingServer {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const config = join(folder, 'redis.conf');
  writePrivateFile(
    config,
    [
      'bind 127.0.0.1',
      `port ${port}`,
      `requirepass ${password}`,
      `dir ${JSON.stringify(folder)}`,
      'daemonize no',
      'save ""',
      'appendonly yes',
      'appendfsync everysec',
      'aof-load-truncated yes',
      '',
    ].join('\n'),
  );
  return {
    process: {
      name: 'redis',
      command: [requiredProgram('redis-server'), config],
      cwd: folder,
      env,
      stopSignal: 'SIGTERM',
      stopTimeoutMs: 10_000,
    },
    url: `redis://:${password}@127.0.0.1:${port}`,
    isReady: () => answers(port, `AUTH ${password}\r\nPING\r\n`, '+PONG'),
    tend: (say) => tendFile({ folder, port, password }, say),
  };
}

/**
 * Redis refuses every write while its file can't grow. The services can rebuild the data that Redis holds, so on a full
 * disk Redis goes on without the file, and writes it again as soon as there is room.
 */
async function tendFile(
  { folder, port, password }: Omit<ServerOptions, 'env'>,
  say: (line: string) => void,
): Promise<void> {
  const ask = (command: string, enough: RegExp) =>
    answerOf(port, `AUTH ${password}\r\n${command}\r\n`, (answer) => enough.test(answer));
  const state = await ask('INFO persistence', /aof_last_write_status:\w+\r/);
  if (state === undefined) return;
  const writesFile = state.includes('aof_enabled:1');
  if (writesFile && state.includes('aof_last_write_status:err')) {
    const done = await ask('CONFIG SET appendonly no', DONE);
    if (done !== undefined) say('The disk is full: redis goes on in memory only until there is room again');
  } else if (!writesFile && (await freeBytes(folder)) > ROOM_FOR_FILE_BYTES) {
    const done = await ask('CONFIG SET appendonly yes', DONE);
    if (done !== undefined) say('There is room on the disk: redis writes its file again');
  }
}

async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}
