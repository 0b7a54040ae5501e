import { runService } from '@weir/platform';
import { AppModule, AUTH, httpAdapter } from './app.module.js';
import type { Auth } from './auth.js';
import { authSettings } from './config.js';

await runService({
  service: 'auth',
  settings: authSettings,
  module: (context) => AppModule.with(context),
  adapter: httpAdapter,
  start: async (context, app) => {
    const auth = app.get<Auth>(AUTH);
    context.health.check('database', async () => {
      await auth.database.$queryRaw`SELECT 1`;
    });
    auth.start();
    return { close: () => auth.close() };
  },
});
