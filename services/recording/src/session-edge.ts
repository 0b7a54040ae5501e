import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { CredentialWatch, RecordingAccess, RefusalLog } from '@weir/access';
import type { MediaClient } from '@weir/media-client';
import type { Outbox } from '@weir/outbox';
import { iceServers, Instances, type Opened } from '@weir/platform';
import { DEFAULT_SETTINGS, type Refusal } from '@weir/protocol-eyeson';
import type { Deliveries } from './deliveries.js';
import { RecordingStats } from './recording-stats.js';
import { rtmServer } from './rtm-server.js';
import type { SessionEdge } from './session-http.js';
import { SessionNames } from './session-names.js';
import type { SessionRecorder } from './session-socket.js';
import { SessionSockets } from './session-sockets.js';
import { SessionStore } from './session-store.js';
import { MAX_PAYLOAD_BYTES, UNFINISHED_FRAMES, type RecordingContext } from './settings.js';
import type { RecordingStore } from './store.js';

export interface OpenSessionEdge extends SessionEdge {
  readonly store: SessionStore;
  readonly sockets: SessionSockets;
  /** Must be called before the HTTP port opens. */
  listen(app: NestFastifyApplication): void;
  /** Ends the sessions. */
  drain(): Promise<void>;
}

export interface SessionEdgePorts {
  readonly database: RecordingStore['database'];
  readonly outbox: Pick<Outbox, 'add' | 'wake'>;
  readonly media: MediaClient;
  readonly deliveries: Pick<Deliveries, 'webhookProblem'>;
  readonly recorder: SessionRecorder;
}

const ORPHAN_INTERVAL_MS = 5_000;

/** The edge at which clients of the recording protocol have their sessions. */
export const openSessionEdge = (
  context: RecordingContext,
  opened: Opened,
  { database, outbox, media, deliveries, recorder }: SessionEdgePorts,
): OpenSessionEdge => {
  const { bus, redis, log, config, instanceId } = context;
  const refusals = new RefusalLog(log);
  const access = new RecordingAccess({ bus, redis, log });
  const store = new SessionStore({ database, outbox, instanceId });
  const names = opened.add('session names', new SessionNames({ store, redis, log }));
  const credentials = opened.add('credentials', new CredentialWatch({ bus, redis, log }));
  const refusalOfWebhook = async (url: string): Promise<Refusal | undefined> => {
    const problem = await deliveries.webhookProblem(url);
    return problem === undefined
      ? undefined
      : { code: 'WEBHOOK_URL_REFUSED', message: `webhook_url can't be used: ${problem}` };
  };
  const sockets = opened.add(
    'sockets',
    new SessionSockets({
      credentials,
      maxSockets: config.WEIR_RECORDING_MAX_SOCKETS,
      socket: {
        ...{ store, media, recorder, refusalOfWebhook, log, refusals },
        settings: DEFAULT_SETTINGS,
        isTalkBackOn: config.WEIR_RECORDING_TALK_BACK,
        maxBufferedBytes: config.WEIR_RECORDING_MAX_BUFFERED_BYTES,
      },
    }),
  );
  opened.add('orphans', endOrphans(context, store));
  const server = rtmServer({
    ...{ access, sockets, refusals, log },
    maxPayloadBytes: MAX_PAYLOAD_BYTES,
    unfinishedFrames: { ...UNFINISHED_FRAMES, timeoutMs: config.WEIR_RECORDING_FRAME_TIMEOUT_MS },
  });
  return {
    ...{ access, store, names, sockets },
    stats: new RecordingStats(database),
    iceServersFor: (id) => iceServers(config, id, Date.now()),
    publicUrl: config.WEIR_PUBLIC_URL,
    listen: (app) => server.listen(app.getHttpServer()),
    drain: async () => {
      await sockets.drain();
      await server.close();
    },
  };
};

/** Ends the sessions whose instance is gone, because their sockets are gone too. */
const endOrphans = ({ bus, log }: RecordingContext, store: SessionStore): { close(): Promise<void> } => {
  const instances = new Instances({ bus, service: 'recording' });
  let working: Promise<void> = Promise.resolve();
  const look = async (): Promise<void> => {
    for (const { id, owner } of await store.liveElsewhere())
      if (instances.isGone(owner)) await store.end(id, 'CONN_ERROR');
  };
  const timer = setInterval(() => {
    working = working
      .then(look)
      .catch((error: unknown) => log.warn({ err: error }, 'sessions that were left behind could not be ended'));
  }, ORPHAN_INTERVAL_MS);
  return {
    close: async () => {
      clearInterval(timer);
      await working;
      await instances.close();
    },
  };
};
