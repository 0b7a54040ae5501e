import 'reflect-metadata';
import { runService } from '@weir/platform';
import { AppModule, httpAdapter } from './app.module.js';
import { wcsSettings } from './settings.js';
import { openWcsSignalling } from './wcs-signalling.js';

await runService({
  service: 'wcs-signalling',
  settings: wcsSettings,
  open: openWcsSignalling,
  module: AppModule.with,
  adapter: httpAdapter,
});
