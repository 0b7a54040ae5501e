import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ServerProcess, findBinary } from './server-process.js';

/** A real server for one spec file, on a free port of the loopback interface with data of its own. */
export interface TestServer {
  readonly url: string;
  readonly port: number;
  /** Ends it and removes its data. Idempotent. */
  stop(): Promise<void>;
  /** Ends it as a crash does (SIGKILL) and keeps its data. */
  kill(): Promise<void>;
  /** After kill(): starts it again on the same port with the same data. */
  restart(): Promise<void>;
}

export const asTestServer = (server: ServerProcess, url: (port: number) => string): TestServer => ({
  url: url(server.port),
  port: server.port,
  stop: () => server.stop(),
  kill: () => server.kill(),
  restart: () => server.restart(),
});

export interface NatsOptions {
  readonly user?: string;
  readonly password?: string;
  /** Bytes; the server's default is 1 MiB. */
  readonly maxPayloadBytes?: number;
}

/** Starts nats-server. With a user, the URL holds the credentials. */
export async function startNats({ user, password = '', maxPayloadBytes }: NatsOptions = {}): Promise<TestServer> {
  const server = await ServerProcess.start({
    name: 'nats-server',
    path: findBinary({ name: 'nats-server', debianPackage: 'nats-server' }),
    readyText: 'Server is ready',
    commandLine: (port, directory) => {
      const config = join(directory, 'nats.conf');
      const lines = [`listen: "127.0.0.1:${port}"`];
      if (maxPayloadBytes !== undefined) lines.push(`max_payload: ${maxPayloadBytes}`);
      if (user !== undefined) {
        lines.push(`authorization { user: ${JSON.stringify(user)}, password: ${JSON.stringify(password)} }`);
      }
      writeFileSync(config, `${lines.join('\n')}\n`, { mode: 0o600 });
      return ['-c', config];
    },
  });
  const credentials = user === undefined ? '' : `${encodeURIComponent(user)}:${encodeURIComponent(password)}@`;
  return asTestServer(server, (port) => `nats://${credentials}127.0.0.1:${port}`);
}

export interface RedisOptions {
  readonly password?: string;
}

/** Starts redis-server, which keeps its data (append-only file) across a restart. */
export async function startRedis({ password }: RedisOptions = {}): Promise<TestServer> {
  const server = await ServerProcess.start({
    name: 'redis-server',
    path: findBinary({ name: 'redis-server', debianPackage: 'redis-server' }),
    readyText: 'Ready to accept connections',
    commandLine: (port, directory) => {
      const config = join(directory, 'redis.conf');
      const lines = [
        'bind 127.0.0.1',
        `port ${port}`,
        `dir ${JSON.stringify(directory)}`,
        'save ""',
        'appendonly yes',
        'appendfsync always',
        'daemonize no',
      ];
      if (password !== undefined) lines.push(`requirepass ${JSON.stringify(password)}`);
      writeFileSync(config, `${lines.join('\n')}\n`, { mode: 0o600 });
      return [config];
    },
  });
  const credentials = password === undefined ? '' : `:${encodeURIComponent(password)}@`;
  return asTestServer(server, (port) => `redis://${credentials}127.0.0.1:${port}`);
}
