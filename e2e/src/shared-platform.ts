import { inject } from 'vitest';
import type { SharedPlatform } from '../bench/platform.js';

/** The platform of the tests, for a program with the option `--platform`. */
export function sharedPlatform(): SharedPlatform {
  const { httpUrl, rtspPort, username, password, natsUrl, redisUrl, operatorKey, dataDir, controlUrl } =
    inject('platform');
  const rtspUrl = `rtsp://127.0.0.1:${rtspPort}`;
  return { httpUrl, rtspUrl, user: { username, password }, natsUrl, redisUrl, operatorKey, dataDir, controlUrl };
}
