import { backOffMs } from '@weir/timing';
import { Redis } from 'ioredis';
import type { Logger } from './logger.js';

const COMMAND_TIMEOUT_MS = 2_000;
const RECONNECT_PACE = { firstMs: 50, maxMs: 2_000 };

/**
 * The service's connection to Redis. It keeps trying to reconnect; meanwhile a command fails within two seconds instead
 * of waiting.
 */
export function connectRedis(url: string, log: Logger): Redis {
  const redis = new Redis(url, {
    commandTimeout: COMMAND_TIMEOUT_MS,
    connectTimeout: COMMAND_TIMEOUT_MS,
    maxRetriesPerRequest: 1,
    retryStrategy: (attempt) => backOffMs(RECONNECT_PACE, attempt, Math.random()),
  });
  let lastMessage = '';
  redis.on('error', (error: Error) => {
    if (error.message !== lastMessage) log.warn({ error: error.message }, 'redis connection failed');
    lastMessage = error.message;
  });
  redis.on('ready', () => {
    lastMessage = '';
  });
  return redis;
}
