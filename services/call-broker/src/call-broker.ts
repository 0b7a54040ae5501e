import { Access } from '@weir/access';
import { openInOrder } from '@weir/platform';
import { AppStore } from './app-store.js';
import type { CallBrokerContext } from './settings.js';

/** The whole service except its HTTP edge. */
export interface CallBroker {
  readonly access: Access;
  readonly apps: AppStore;
  close(): Promise<void>;
}

export const openCallBroker = (context: CallBrokerContext): Promise<CallBroker> =>
  openInOrder(context.log, async (opened) => {
    const { config, log, bus, redis, health } = context;
    const apps = opened.add('database', await AppStore.open(config.DATABASE_URL, log));
    health.check('database', () => apps.ping());
    return { access: new Access({ bus, redis, log }), apps };
  });
