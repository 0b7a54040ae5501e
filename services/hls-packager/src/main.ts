import 'reflect-metadata';
import { setFlagsFromString } from 'node:v8';
import { receiveBuffer } from '@weir/media-client';
import { runService, type ServiceContext } from '@weir/platform';
import { AppModule, httpAdapter } from './app.module.js';
import { hlsSettings } from './config.js';
import { HlsPackager } from './hls-packager.js';

/**
 * Packets and parts lie outside the heap and soon become garbage. By default V8 collects whenever they have grown by a
 * fraction of the small heap, several times a second, and marks the whole heap each time. That takes half of this
 * process's time.
 */
setFlagsFromString('--heap-growing-percent=400');

const made = new WeakMap<object, HlsPackager>();

/** Makes one packager for each context, for whichever of the hooks below asks first. */
const packagerOf = (context: ServiceContext<typeof hlsSettings>): HlsPackager => {
  const packager = made.get(context) ?? new HlsPackager(context);
  made.set(context, packager);
  return packager;
};

await runService({
  service: 'hls-packager',
  settings: hlsSettings,
  module: (context) => AppModule.with(packagerOf(context)),
  adapter: ({ config }) => httpAdapter(config),
  start: async (context) => {
    const packager = packagerOf(context);
    const buffer = await receiveBuffer(context.config.WEIR_HLS_RTP_ADDRESS);
    if (buffer.grantedBytes < buffer.wantedBytes)
      context.log.info(buffer, 'a busy moment may lose packets: the kernel limits buffers by net.core.rmem_max');
    return { drain: () => packager.drain(), close: () => packager.close() };
  },
});
