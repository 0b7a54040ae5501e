import 'reflect-metadata';
import { setFlagsFromString } from 'node:v8';
import { runService } from '@weir/platform';
import { AppModule, httpAdapter, RELAY_PUSH } from './app.module.js';
import { relaySettings } from './config.js';
import type { RelayPush } from './relay-push.js';

/**
 * Each packet leaves a cipher behind, which Node can't use twice and which costs a collection far more than its size. A small
 * young generation is collected often, 2 ms at a time, where a large one would hold up all packets for 15 to 25 ms.
 */
setFlagsFromString('--semi-space-growth-factor=1');
/** Packets lie outside the heap: the old generation needn't be searched for every few megabytes of them. */
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
