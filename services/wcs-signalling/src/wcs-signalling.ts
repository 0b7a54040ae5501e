import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { Access, CredentialWatch, RefusalLog, ReservedNames } from '@weir/access';
import { MediaClient } from '@weir/media-client';
import { OutboundGuard } from '@weir/outbound';
import { Instances, openInOrder, type ServiceContext } from '@weir/platform';
import { Admission } from './admission.js';
import { AllSessions, serveSessions } from './all-sessions.js';
import { Applications } from './applications.js';
import { MAX_PAYLOAD_BYTES, sessionSettings, UNFINISHED_FRAMES, type wcsSettings } from './settings.js';
import { Hooks } from './hooks.js';
import { MediaEffects } from './media-effects.js';
import { WcsMetrics } from './metrics.js';
import { Operator } from './operator.js';
import { Sessions } from './sessions.js';
import { StreamRecordings } from './stream-recordings.js';
import { wcsServer } from './ws.js';

export type WcsContext = Pick<ServiceContext<typeof wcsSettings>, 'bus' | 'redis' | 'log' | 'config' | 'instanceId'>;

/** The whole service except its HTTP and WebSocket edges. */
export interface WcsSignalling {
  readonly access: Access;
  readonly sessions: Sessions;
  readonly operator: Operator;
  /** Must be called before the HTTP port opens. */
  listen(app: NestFastifyApplication): void;
  drain(): Promise<void>;
  close(): Promise<void>;
}

export const openWcsSignalling = (context: WcsContext): Promise<WcsSignalling> =>
  openInOrder(context.log, async (opened) => {
    const { bus, redis, log, config } = context;
    const refusals = new RefusalLog(log);
    const access = new Access({ bus, redis, log });
    const instances = opened.add('instances', new Instances({ bus, service: 'wcs-signalling' }));
    const media = opened.add('media', new MediaClient({ bus, log }));
    const credentials = opened.add('credentials', new CredentialWatch({ bus, redis, log }));
    const applications = opened.add('applications', new Applications(bus));
    const recordings = new StreamRecordings({ bus, log });
    const metrics = new WcsMetrics();
    const sessions = new Sessions({
      media: new MediaEffects({ media, log, statsIntervalMs: config.WEIR_WCS_VIDEO_RATE_INTERVAL_MS }),
      log,
      maxSessions: config.WEIR_WCS_MAX_SESSIONS,
      session: {
        admission: openAdmission(context, { applications, access }),
        ...{ credentials, metrics, recordings, refusals },
        settings: sessionSettings(config),
        maxBufferedBytes: config.WEIR_WCS_MAX_BUFFERED_BYTES,
      },
    });
    metrics.observe(() => sessions.load);
    opened.add('bus', serveSessions(bus, sessions));
    opened.add('recording changes', recordings.tell(sessions));
    opened.add('sessions', sessions);
    const server = wcsServer({
      ...{ sessions, refusals, log },
      trustForwarded: config.WEIR_WCS_TRUST_FORWARDED,
      maxPayloadBytes: MAX_PAYLOAD_BYTES,
      unfinishedFrames: { ...UNFINISHED_FRAMES, timeoutMs: config.WEIR_WCS_FRAME_TIMEOUT_MS },
    });
    return {
      ...{ access, sessions },
      operator: new Operator({ allSessions: new AllSessions({ bus, instances, log }), media, recordings, log }),
      listen: (app) => server.listen(app.getHttpServer()),
      drain: async () => {
        await sessions.drain();
        await server.close();
      },
    } satisfies Omit<WcsSignalling, 'close'>;
  });

const openAdmission = (
  { redis, log, config, instanceId }: WcsContext,
  { applications, access }: { readonly applications: Applications; readonly access: Access },
): Admission =>
  new Admission({
    ...{ applications, access, log },
    reservedNames: new ReservedNames({ redis, log }),
    hooks: new Hooks({
      fetch: new OutboundGuard({ allow: config.WEIR_OUTBOUND_ALLOW }),
      log,
      timeoutMs: config.WEIR_WCS_HOOK_TIMEOUT_MS,
      retries: config.WEIR_WCS_HOOK_RETRIES,
      maxConcurrent: config.WEIR_WCS_HOOK_MAX_CONCURRENT,
    }),
    nodeId: instanceId,
  });
