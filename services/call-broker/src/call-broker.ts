import { Access, NameReservations } from '@weir/access';
import { Leases } from '@weir/leases';
import { MediaClient } from '@weir/media-client';
import { OutboundGuard } from '@weir/outbound';
import { Outbox } from '@weir/outbox';
import { iceServers, openInOrder } from '@weir/platform';
import { AppStore } from './app-store.js';
import { AppWebhooks } from './app-webhooks.js';
import { Covers } from './covers.js';
import { CALL_LEASE_TTL_MS, CallLeases } from './call-leases.js';
import { CallStore } from './call-store.js';
import { Calls } from './calls.js';
import { serveClips } from './clips.js';
import { ensureDemoApp } from './demo-app.js';
import { DeviceTokens } from './device-tokens.js';
import { CALL_PREFIX } from './live-call.js';
import { openDevices, type Devices } from './devices.js';
import { MessageStore } from './message-store.js';
import { endpointOf } from './endpoint.js';
import { CallBrokerMetrics } from './metrics.js';
import type { CallBrokerContext } from './settings.js';
import { OpenRecords } from './open-records.js';
import { Sightings } from './sightings.js';
import { StateReports } from './state-reports.js';
import { WakeUps } from './wake-ups.js';
import { WatchAddresses } from './watch-addresses.js';
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
  readonly calls: Calls;
  readonly openRecords: OpenRecords;
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
    const webhooks = new AppWebhooks({ apps, outbox, guard, tracker });
    webhooks.deliver();
    opened.add('clips', serveClips({ bus, database: apps.database, apps, webhooks }));
    const stateReports = opened.add(
      'reports of states',
      new StateReports({ write: (change) => webhooks.deviceState(change), log }),
    );
    const sightings = new Sightings(apps, log);
    const media = new MediaClient({ bus, log });
    opened.onClose('media', () => media.leave());
    const names = new NameReservations({ redis, owner: 'calls' });
    const leasesOf = (prefix: string): Leases =>
      new Leases(redis, { prefix: `call-broker:${prefix}`, owner: instanceId, ttlMs: CALL_LEASE_TTL_MS });
    const leases = new CallLeases({ calls: leasesOf('call'), places: leasesOf('place'), rings: leasesOf('ring') });
    const callStore = new CallStore(apps.database);
    const calls: Calls = new Calls({
      store: callStore,
      channels: () => devices.channels,
      reserveNames: (tenant) => names.reserve({ tenant, prefix: CALL_PREFIX }),
      iceServersFor: (cid) => iceServers(config, String(cid), Date.now()),
      ...{ bus, leases, media, tokens, log },
    });
    opened.add('calls', calls);
    const renewCalls = (): void => calls.renewSoon();
    redis.on('ready', renewCalls);
    opened.onClose('renewal of calls', () => void redis.off('ready', renewCalls));
    const running = (): readonly string[] => calls.ids;
    const openRecords = opened.add('open records', new OpenRecords({ store: callStore, leases, running, log }));
    const devices: Devices = openDevices(
      context,
      {
        ...{ tokens, store },
        wakeUps: new WakeUps({ outbox, apps, store, guard }),
        listener: calls,
        changed: (change) => {
          sightings.note(change.cid);
          stateReports.add(change);
        },
      },
      opened,
    );
    const metrics = new CallBrokerMetrics();
    metrics.observe(() => devices.channels.count);
    const callers = new WebApiCallers(apps, tokens);
    const covers = new Covers({ database: apps.database, livePicture: (cid) => livePicture(calls, cid), metrics });
    const webApi = {
      ...{ apps, callers, webhooks, metrics, publicUrl, maxTokenLifeS },
      ...{ presence: devices.channels, messages: devices.messages, calls },
      watching: new WatchAddresses({ bus, calls, log }),
    };
    return {
      ...devices,
      access: new Access({ bus, redis, log }),
      apps,
      tokens,
      calls,
      openRecords,
      callers,
      covers,
      webhooks,
      webApi,
    };
  });

const livePicture = async (calls: Calls, cid: number) => {
  const image = await calls.picture(cid);
  return image && { contentType: 'image/png' as const, image };
};
