import 'reflect-metadata';
import { setFlagsFromString } from 'node:v8';
import { runService } from '@weir/platform';
import { AppModule, httpAdapter, RELAY_PUSH } from './app.module.js';
import { relaySettings } from './config.js';
import type { RelayPush } from './relay-push.js';

/**
 * Each packet leaves a cipher behind, because Node can't use a cipher twice, and collecting it costs far more than its
 * size suggests. A small young generation is collected often, 2 ms at a time; collecting a large one would hold up all
 * packets for 15 to 25 ms.
 */
setFlagsFromString('--semi-space-growth-factor=1');
/**
 * Packets are stored outside the heap, so a few megabytes of them needn't trigger a collection of the old generation.
 */
setFlagsFromString('--heap-growing-percent=400');

await runService({
  service: 'relay-push',
  settings: relaySettings,
  module: (context) => AppModule.with(context),
  adapter: httpAdapter,
  start: async (context, app) => {
    const relayPush = app.get<RelayPush>(RELAY_PUSH);
    context.health.check('database', () => relayPush.store.ping());
    return { close: () => relayPush.close() };
  },
});
