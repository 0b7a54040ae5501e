import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { answers, type BackingServer } from './backing-server.js';
import { requiredProgram } from './required-program.js';
import { writePrivateFile } from './secrets.js';

/** The largest message. Snapshots of streams pass through the bus. */
const MAX_PAYLOAD_BYTES = 8 * 1024 * 1024;

export interface ServerOptions {
  /** The server's own folder; it is created. */
  folder: string;
  port: number;
  password: string;
  env: NodeJS.ProcessEnv;
}

/** Defines nats-server on loopback, with a password. */
export function natsServer({ folder, port, password, env }: ServerOptions): BackingServer {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const config = join(folder, 'nats.conf');
  writePrivateFile(
    config,
    [
      'server_name: weir',
      'host: 127.0.0.1',
      `port: ${port}`,
      `max_payload: ${MAX_PAYLOAD_BYTES}`,
      `authorization { user: weir, password: ${JSON.stringify(password)} }`,
      '',
    ].join('\n'),
  );
  return {
    process: {
      name: 'nats',
      command: [requiredProgram('nats-server'), '--config', config],
      cwd: folder,
      env,
      stopSignal: 'SIGTERM',
      stopTimeoutMs: 10_000,
    },
    url: `nats://weir:${password}@127.0.0.1:${port}`,
    isReady: () => answers(port, '', 'INFO '),
  };
}
