import { runService } from '@weir/platform';
import { AppModule, httpAdapter } from './app.module.js';
import { openAuth } from './auth.js';
import { authSettings } from './settings.js';

await runService({
  service: 'auth',
  settings: authSettings,
  open: openAuth,
  module: AppModule.with,
  adapter: httpAdapter,
});
