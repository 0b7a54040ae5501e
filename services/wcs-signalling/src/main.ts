import 'reflect-metadata';
import { runService, type ServiceContext } from '@weir/platform';
import { AppModule, httpAdapter } from './app.module.js';
import { wcsSettings } from './config.js';
import { WcsSignalling } from './wcs-signalling.js';

const made = new WeakMap<object, WcsSignalling>();

/** Makes one service for each context, for whichever of the hooks below asks first. */
const wcsOf = (context: ServiceContext<typeof wcsSettings>): WcsSignalling => {
  const wcs = made.get(context) ?? new WcsSignalling(context);
  made.set(context, wcs);
  return wcs;
};

await runService({
  service: 'wcs-signalling',
  settings: wcsSettings,
  module: (context) => AppModule.with(wcsOf(context)),
  adapter: httpAdapter,
  webSocketAdapter: (app, context) => wcsOf(context).webSocketAdapter(app),
  start: async (context) => {
    const wcs = wcsOf(context);
    return { drain: () => wcs.drain(), close: () => wcs.close() };
  },
});
