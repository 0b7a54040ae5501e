import 'reflect-metadata';
import { acceptEmptyJson } from '@weir/access';
import { runService } from '@weir/platform';
import { AppModule, RELAY_PUSH } from './app.module.js';
import { relaySettings } from './config.js';
import type { RelayPush } from './relay-push.js';
import { MAX_BODY_BYTES } from './rest.js';

await runService({
  service: 'relay-push',
  settings: relaySettings,
  module: (context) => AppModule.with(context),
  start: async (context, app) => {
    const relayPush = app.get<RelayPush>(RELAY_PUSH);
    context.health.check('database', () => relayPush.store.ping());
    acceptEmptyJson(app, { maxBytes: MAX_BODY_BYTES });
    return { close: () => relayPush.close() };
  },
});
