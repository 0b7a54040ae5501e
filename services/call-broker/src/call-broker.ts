import { Access } from '@weir/access';
import { OutboundGuard } from '@weir/outbound';
import { Outbox } from '@weir/outbox';
import { openInOrder } from '@weir/platform';
import { ERROR_CODE } from '@weir/protocol-topvdn';
import { AppStore } from './app-store.js';
import { AppWebhooks } from './app-webhooks.js';
import { Covers } from './covers.js';
import { ensureDemoApp } from './demo-app.js';
import type { DeviceChannels, DeviceListener } from './device-channels.js';
import { DeviceTokens } from './device-tokens.js';
import { openDevices, type Devices } from './devices.js';
import { MessageStore } from './message-store.js';
import { endpointOf } from './public-origin.js';
import type { CallBrokerContext } from './settings.js';
import { Sightings } from './sightings.js';
import { WakeUps } from './wake-ups.js';
import { WebApiCallers } from './web-api-callers.js';
import type { WebApiPorts } from './web-api-http.js';

/** The whole service except its HTTP edge. */
export interface CallBroker extends Devices {
  readonly access: Access;
  readonly apps: AppStore;
  readonly tokens: DeviceTokens;
  readonly callers: WebApiCallers;
  readonly covers: Covers;
  readonly webhooks: AppWebhooks;
  readonly webApi: WebApiPorts;
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
    const maxTokenLifeS = config.WEIR_CALLS_MAX_TOKEN_TTL_S;
    const tokens = new DeviceTokens(apps, { maxLifetimeS: maxTokenLifeS });
    const publicUrl = config.WEIR_PUBLIC_URL;
    const guard = new OutboundGuard({ allow: config.WEIR_OUTBOUND_ALLOW });
    const store = new MessageStore(apps.database, config.WEIR_CALLS_MAX_STORED_MESSAGES);
    const tracker = publicUrl === undefined ? { host: '', port: 0 } : endpointOf(publicUrl);
    const webhooks = new AppWebhooks({ apps, outbox, guard, tracker, log });
    webhooks.deliver();
    const sightings = new Sightings(apps, log);
    const devices: Devices = openDevices(
      context,
      {
        ...{ tokens, store },
        wakeUps: new WakeUps({ outbox, apps, store, guard }),
        listener: withoutCalls(() => devices.channels),
        changed: (change) => {
          sightings.note(change.cid);
          void webhooks.deviceState(change);
        },
      },
      opened,
    );
    const callers = new WebApiCallers(apps, tokens);
    const covers = new Covers({ database: apps.database, livePicture: async () => undefined });
    const webApi = {
      ...{ apps, callers, webhooks, publicUrl, maxTokenLifeS },
      ...{ presence: devices.channels, messages: devices.messages },
    };
    return { ...devices, access: new Access({ bus, redis, log }), apps, tokens, callers, covers, webhooks, webApi };
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
