import { parseSettings } from '@weir/platform';
import { Redis } from 'ioredis';
import { edgeConfig, gatewaySettings } from '../settings.js';
import { Edge } from '../edge.js';
import type { EdgeLog } from '../edge-log.js';
import type { OpenListener } from '../listeners.js';
import type { CounterStore } from '../rate-counters.js';

export interface LogLine {
  level: 'debug' | 'info' | 'warn' | 'error';
  fields: object;
  message: string;
}

export interface EdgeUnderTest {
  edge: Edge;
  listeners: OpenListener[];
  /** `http://127.0.0.1:port` */
  url: string;
  /** `ws://127.0.0.1:port` */
  socketUrl: string;
  port: number;
  log: LogLine[];
}

const noRedis: CounterStore = {
  status: 'end',
  eval: () => Promise.reject(new Error('no Redis in this test')),
};

const started = new Set<Edge>();
const connections = new Set<Redis>();

/** An edge on free ports, configured by environment variables as in production. */
export async function startEdge(
  env: Readonly<Record<string, string>> = {},
  redis: CounterStore = noRedis,
): Promise<EdgeUnderTest> {
  const config = edgeConfig(
    parseSettings(gatewaySettings, { WEIR_HTTP_HOST: '127.0.0.1', WEIR_HTTP_PORT: '0', WEIR_HTTPS_PORT: '0', ...env }),
  );
  const log: LogLine[] = [];
  const edge = new Edge({ config, redis, log: collect(log), nowMs: Date.now });
  started.add(edge);
  const listeners = await edge.listen();
  const port = listeners[0]?.port ?? 0;
  return { edge, listeners, log, port, url: `http://127.0.0.1:${port}`, socketUrl: `ws://127.0.0.1:${port}` };
}

export function connectRedis(url: string): Redis {
  const redis = new Redis(url, { maxRetriesPerRequest: 1, retryStrategy: () => 50 });
  redis.on('error', () => undefined);
  connections.add(redis);
  return redis;
}

/** For `afterEach`. */
export async function stopEdges(): Promise<void> {
  await Promise.all([...started].map((edge) => edge.close()));
  started.clear();
  for (const redis of connections) redis.disconnect();
  connections.clear();
}

const collect = (lines: LogLine[]): EdgeLog => ({
  debug: (fields, message) => void lines.push({ level: 'debug', fields, message }),
  info: (fields, message) => void lines.push({ level: 'info', fields, message }),
  warn: (fields, message) => void lines.push({ level: 'warn', fields, message }),
  error: (fields, message) => void lines.push({ level: 'error', fields, message }),
});
