import { Access } from '@weir/access';
import { OutboundGuard } from '@weir/outbound';
import { Outbox } from '@weir/outbox';
import { openInOrder } from '@weir/platform';
import { ERROR_CODE } from '@weir/protocol-topvdn';
import { AppStore } from './app-store.js';
import { ensureDemoApp } from './demo-app.js';
import type { DeviceChannels, DeviceListener } from './device-channels.js';
import { DeviceTokens } from './device-tokens.js';
import { openDevices, type Devices } from './devices.js';
import { MessageStore } from './message-store.js';
import type { CallBrokerContext } from './settings.js';
import { WakeUps } from './wake-ups.js';

/** The whole service except its HTTP edge. */
export interface CallBroker extends Devices {
  readonly access: Access;
  readonly apps: AppStore;
  readonly tokens: DeviceTokens;
  close(): Promise<void>;
}

export const openCallBroker = (context: CallBrokerContext): Promise<CallBroker> =>
  openInOrder(context.log, async (opened) => {
    const { config, log, bus, redis, health, instanceId } = context;
    const apps = opened.add('database', await AppStore.open(config.DATABASE_URL, log));
    health.check('database', () => apps.ping());
    const file = config.WEIR_SINGLE_MACHINE ? config.WEIR_CREDENTIALS_FILE : undefined;
    if (file !== undefined) await ensureDemoApp(apps, file, log);
    else await apps.removeDemo();
    const outbox = opened.add(
      'outbox',
      await Outbox.open({ url: config.DATABASE_URL, owner: 'call_broker', instance: instanceId, log }),
    );
    const tokens = new DeviceTokens(apps, { maxLifetimeS: config.WEIR_CALLS_MAX_TOKEN_TTL_S });
    const guard = new OutboundGuard({ allow: config.WEIR_OUTBOUND_ALLOW });
    const store = new MessageStore(apps.database, config.WEIR_CALLS_MAX_STORED_MESSAGES);
    const devices: Devices = openDevices(
      context,
      {
        ...{ tokens, store },
        wakeUps: new WakeUps({ outbox, apps, store, guard }),
        listener: withoutCalls(() => devices.channels),
        changed: () => undefined,
      },
      opened,
    );
    return { ...devices, access: new Access({ bus, redis, log }), apps, tokens };
  });

/** Answers devices as long as nobody manages their calls. */
const withoutCalls = (channels: () => Pick<DeviceChannels, 'send'>): DeviceListener => ({
  asked: ({ cid }, request) => {
    const ref = 'ref' in request ? request.ref : undefined;
    void channels().send(cid, {
      type: 'error',
      ...(ref !== undefined && { ref }),
      code: ERROR_CODE.unavailable,
      message: 'Calls are not available',
    });
  },
  arrived: () => undefined,
  gone: () => undefined,
});
