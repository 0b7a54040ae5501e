import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { answers, type BackingServer } from './backing-server.js';
import type { ServerOptions } from './nats.js';
import { requiredProgram } from './required-program.js';
import { writePrivateFile } from './secrets.js';

/** redis-server on loopback, with a password. What it holds survives a restart but for the last second. */
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
  };
}
