import { Access, CredentialWatch } from '@weir/access';
import { Leases } from '@weir/leases';
import { MediaClient } from '@weir/media-client';
import { OutboundGuard } from '@weir/outbound';
import { openInOrder } from '@weir/platform';
import { allowedSchemes, clientSettings, readCa, type RelayConfig, type RelayContext } from './settings.js';
import { RelayMetrics } from './metrics.js';
import { OtherInstances } from './other-instances.js';
import { createCertificate } from './peer/transport.js';
import { PullAttempt } from './pull.js';
import { PushAttempt, type RelayPorts } from './push.js';
import { Relays, type MakeAttempt, type RelaysSettings } from './relays.js';
import { RelayStore } from './store.js';

/** The whole service except its HTTP edge. */
export interface RelayPush {
  readonly access: Access;
  readonly relays: Relays;
  readonly store: RelayStore;
  close(): Promise<void>;
}

/** An instance tries three times to renew a lease before it ends. */
const CHECKS_PER_LEASE = 4;

const attemptMaker =
  (ports: RelayPorts, appKey: string): MakeAttempt =>
  (id, { tenant, direction, uri, localStreamName, remoteStreamName }, listener) => {
    const remote = { name: remoteStreamName, connection: { appKey, clientVersion: '2.0' } };
    const common = { tenant, localStreamName, uri, remote, listener };
    return direction === 'push'
      ? new PushAttempt(ports, common)
      : new PullAttempt(ports, { ...common, labels: { protocol: 'relay', relayId: id } });
  };

export const openRelayPush = (context: RelayContext): Promise<RelayPush> =>
  openInOrder(context.log, async (opened) => {
    const { config, log, bus, redis, instanceId, health } = context;
    const [certificate, ca] = await Promise.all([createCertificate(), readCa(config)]);
    const store = opened.add('database', await RelayStore.open(config.DATABASE_URL, log));
    health.check('database', () => store.ping());
    const media = opened.add('media', new MediaClient({ bus, log }));
    const ports: RelayPorts = {
      media,
      rtpAddress: config.WEIR_RELAY_RTP_ADDRESS,
      remote: {
        guard: new OutboundGuard({ allow: config.WEIR_OUTBOUND_ALLOW }),
        certificate,
        ca,
        schemes: allowedSchemes(config),
        client: clientSettings(config),
        mediaTimeoutMs: config.WEIR_RELAY_MEDIA_TIMEOUT_MS,
        log,
      },
    };
    const credentials = opened.add('credentials', new CredentialWatch({ bus, redis, log }));
    const others = new OtherInstances({ bus, log });
    const relays = new Relays(
      {
        ...{ store, others, instanceId, log, credentials },
        leases: new Leases(redis, { prefix: 'relay-push:relay', owner: instanceId, ttlMs: config.WEIR_RELAY_LOCK_MS }),
        metrics: new RelayMetrics(),
        attempt: attemptMaker(ports, config.WEIR_RELAY_APP_KEY),
      },
      relaysSettings(config),
    );
    opened.add(
      'bus',
      others.serve(() => relays.live()),
    );
    opened.add('relays', relays);
    relays.start();
    return { access: new Access({ bus, redis, log }), relays, store };
  });

const relaysSettings = (config: RelayConfig): RelaysSettings => ({
  retry: {
    maxRetries: config.WEIR_RELAY_MAX_RETRIES,
    minPauseMs: config.WEIR_RELAY_RETRY_MIN_MS,
    maxPauseMs: config.WEIR_RELAY_RETRY_MAX_MS,
    stableMs: config.WEIR_RELAY_STABLE_MS,
  },
  acceptTimeoutMs: config.WEIR_RELAY_ACCEPT_TIMEOUT_MS,
  keepFailedMs: config.WEIR_RELAY_KEEP_FAILED_MS,
  maxRelays: config.WEIR_RELAY_MAX_RELAYS,
  checkIntervalMs: config.WEIR_RELAY_LOCK_MS / CHECKS_PER_LEASE,
});
