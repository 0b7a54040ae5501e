import 'reflect-metadata';
import { setFlagsFromString } from 'node:v8';
import { runService } from '@weir/platform';
import { AppModule, httpAdapter } from './app.module.js';
import { hlsSettings } from './settings.js';
import { openHlsPackager } from './hls-packager.js';

/**
 * Packets and parts lie outside the heap and soon become garbage. By default V8 collects whenever they have grown by a
 * fraction of the small heap, several times a second, and marks the whole heap each time. That takes half of this
 * process's time.
 */
setFlagsFromString('--heap-growing-percent=400');

await runService({
  service: 'hls-packager',
  settings: hlsSettings,
  open: openHlsPackager,
  module: AppModule.with,
  adapter: httpAdapter,
});
