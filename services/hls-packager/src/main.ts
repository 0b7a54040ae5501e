import 'reflect-metadata';
import { runService, type ServiceContext } from '@weir/platform';
import { AppModule, httpAdapter } from './app.module.js';
import { hlsSettings } from './config.js';
import { HlsPackager } from './hls-packager.js';

const made = new WeakMap<object, HlsPackager>();

/** One for each context, whichever of the hooks below asks first. */
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
    return { drain: () => packager.drain(), close: () => packager.close() };
  },
});
