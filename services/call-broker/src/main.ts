import 'reflect-metadata';
import { runService } from '@weir/platform';
import { AppModule, httpAdapter } from './app.module.js';
import { openCallBroker } from './call-broker.js';
import { callBrokerSettings } from './settings.js';

await runService({
  service: 'call-broker',
  settings: callBrokerSettings,
  open: openCallBroker,
  module: AppModule.with,
  adapter: httpAdapter,
});
