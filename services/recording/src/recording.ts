import { mkdir } from 'node:fs/promises';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { Access } from '@weir/access';
import { Leases } from '@weir/leases';
import { MediaClient } from '@weir/media-client';
import { OutboundGuard } from '@weir/outbound';
import { newWebhookSecret, Outbox, webhookHandler } from '@weir/outbox';
import { openInOrder } from '@weir/platform';
import type { RecordingConfig, RecordingContext } from './settings.js';
import { Deliveries } from './deliveries.js';
import { DeliveryLog } from './delivery-log.js';
import { RecordingMetrics } from './metrics.js';
import { Recordings, type RecordingsSettings } from './recordings.js';
import { openSessionEdge, type OpenSessionEdge } from './session-edge.js';
import { recordSessions, tellWebhook } from './session-recorder.js';
import { WEBHOOK_QUEUE } from './session-store.js';
import { RecordingStore } from './store.js';
import { serveStreamRecordings } from './stream-recordings.js';

/** The whole service except its HTTP edge. */
export interface Recording {
  readonly access: Access;
  readonly store: RecordingStore;
  readonly recordings: Recordings;
  readonly deliveries: Deliveries;
  readonly deliveryLog: DeliveryLog;
  readonly sessions: OpenSessionEdge;
  listen(app: NestFastifyApplication): void;
  drain(): Promise<void>;
  close(): Promise<void>;
}

export const openRecording = (context: RecordingContext): Promise<Recording> =>
  openInOrder(context.log, async (opened) => {
    const { config, log, bus, redis, health, instanceId } = context;
    await mkdir(config.WEIR_RECORDING_DIR, { recursive: true, mode: 0o700 });
    const store = opened.add('database', await RecordingStore.open(config.DATABASE_URL, log));
    health.check('database', () => store.ping());
    const media = opened.add('media', new MediaClient({ bus, log }));
    const leases = new Leases(redis, {
      ...{ prefix: 'recording:recording', owner: instanceId, ttlMs: config.WEIR_RECORDING_LEASE_MS },
    });
    const metrics = new RecordingMetrics();
    const recordings = opened.add(
      'recordings',
      new Recordings({ ...{ store, leases, media, instanceId, log }, metrics }, recordingsSettings(config)),
    );
    const guard = new OutboundGuard({ allow: config.WEIR_OUTBOUND_ALLOW });
    const url = config.DATABASE_URL;
    const outbox = opened.add('outbox', await Outbox.open({ url, owner: OUTBOX_OWNER, instance: instanceId, log }));
    const deliveries = new Deliveries(
      { ...{ outbox, guard, store, recordings, metrics, log }, tell: tellWebhook(outbox) },
      config,
    );
    opened.add('stream changes', media.onStreams({ started: (stream) => recordings.streamStarted(stream) }));
    recordings.start();
    opened.add('bus', serveStreamRecordings({ bus, outbox, recordings, store }));
    const isSigned = config.WEIR_WEBHOOK_SECRETS.length > 0;
    if (!isSigned) log.warn('no receiver can check the signatures of webhooks; set WEIR_WEBHOOK_SECRETS');
    const secrets = isSigned ? config.WEIR_WEBHOOK_SECRETS : [newWebhookSecret()];
    outbox.deliver(WEBHOOK_QUEUE, webhookHandler({ guard, secrets: async () => secrets }));
    const { database } = store;
    const recorder = recordSessions({ recordings, deliveries });
    const sessions = openSessionEdge(context, opened, { database, outbox, media, deliveries, recorder });
    const deliveryLog = new DeliveryLog({ outbox, store, sessions: sessions.store, deliveries });
    return {
      ...{ access: new Access({ bus, redis, log }), store, recordings, deliveries, deliveryLog, sessions },
      listen: (app) => sessions.listen(app),
      drain: () => sessions.drain(),
    } satisfies Omit<Recording, 'close'>;
  });

const OUTBOX_OWNER = 'recording';
const LOOK_AGAIN_MS = 500;
const FINISH_PACE = { firstMs: 500, maxMs: 30_000 } as const;

const recordingsSettings = (config: RecordingConfig): RecordingsSettings => ({
  dir: config.WEIR_RECORDING_DIR,
  rtpAddress: config.WEIR_RECORDING_RTP_ADDRESS,
  recording: {
    streamWaitMs: config.WEIR_RECORDING_STREAM_WAIT_MS,
    ...{ lookAgainMs: LOOK_AGAIN_MS, finishPace: FINISH_PACE },
  },
  keyFrameIntervalMs: config.WEIR_RECORDING_KEY_FRAME_INTERVAL_MS,
  leaseMs: config.WEIR_RECORDING_LEASE_MS,
  maxRecordings: config.WEIR_RECORDING_MAX,
  minFreeBytes: config.WEIR_RECORDING_MIN_FREE_BYTES,
  keepMs: config.WEIR_RECORDING_KEEP_MS,
  keepBytes: config.WEIR_RECORDING_KEEP_BYTES,
});
