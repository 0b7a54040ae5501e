import 'reflect-metadata';
import { setFlagsFromString } from 'node:v8';
import { runService } from '@weir/platform';
import { AppModule, httpAdapter } from './app.module.js';
import { relaySettings } from './settings.js';
import { openRelayPush } from './relay-push.js';

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
  open: openRelayPush,
  module: AppModule.with,
  adapter: httpAdapter,
});
