import type { Server } from 'node:http';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { Access, CredentialWatch, RefusalLog, ReservedNames } from '@weir/access';
import { MediaClient } from '@weir/media-client';
import { OutboundGuard } from '@weir/outbound';
import { Instances, UnfinishedFrames, type ServiceContext } from '@weir/platform';
import { Admission } from './admission.js';
import { Applications } from './applications.js';
import { MAX_PAYLOAD_BYTES, sessionSettings, UNFINISHED_FRAMES, type wcsSettings } from './config.js';
import { Hooks } from './hooks.js';
import { MediaEffects } from './media-effects.js';
import { WcsMetrics } from './metrics.js';
import { Operator } from './operator.js';
import { Peers, serveSessions } from './peers.js';
import { Sessions } from './sessions.js';
import { clientAddress } from './ws.js';
import { WholeFrameAdapter } from './ws-adapter.js';

const INSTANCE_SILENT_AFTER_MS = 4_000;

export type WcsContext = Pick<ServiceContext<typeof wcsSettings>, 'bus' | 'redis' | 'log' | 'config' | 'instanceId'>;

/**
 * Makes the parts of the service. Closes the sessions first, then the parts that they need, then the watch on others.
 */
export class WcsSignalling {
  readonly access: Access;
  readonly sessions: Sessions;
  readonly refusals: RefusalLog;
  readonly operator: Operator;
  readonly #applications: Applications;
  readonly #credentials: CredentialWatch;
  readonly #media: MediaClient;
  readonly #peers: Instances;
  readonly #served: { close(): Promise<void> };
  readonly #unfinishedFrames: UnfinishedFrames;

  constructor(readonly context: WcsContext) {
    const { bus, redis, log, config } = context;
    this.refusals = new RefusalLog(log);
    this.access = new Access({ bus, redis, log });
    this.#applications = new Applications(bus);
    this.#credentials = new CredentialWatch({ bus, redis, log });
    this.#media = new MediaClient({ bus, log });
    this.#peers = new Instances({ bus, service: 'wcs-signalling', silentAfterMs: INSTANCE_SILENT_AFTER_MS });
    const hooks = new Hooks({
      fetch: new OutboundGuard({ allow: config.WEIR_OUTBOUND_ALLOW }),
      log,
      timeoutMs: config.WEIR_WCS_HOOK_TIMEOUT_MS,
      retries: config.WEIR_WCS_HOOK_RETRIES,
      maxConcurrent: config.WEIR_WCS_HOOK_MAX_CONCURRENT,
    });
    const metrics = new WcsMetrics();
    this.sessions = new Sessions({
      media: new MediaEffects({
        ...{ media: this.#media, log },
        statsIntervalMs: config.WEIR_WCS_VIDEO_RATE_INTERVAL_MS,
      }),
      log,
      maxSessions: config.WEIR_WCS_MAX_SESSIONS,
      session: {
        admission: new Admission({
          applications: this.#applications,
          access: this.access,
          reservedNames: new ReservedNames({ redis, log }),
          hooks,
          nodeId: context.instanceId,
          log,
        }),
        credentials: this.#credentials,
        metrics,
        refusals: this.refusals,
        settings: sessionSettings(config),
        maxBufferedBytes: config.WEIR_WCS_MAX_BUFFERED_BYTES,
      },
    });
    metrics.observe(() => this.sessions.load);
    this.#unfinishedFrames = new UnfinishedFrames({
      ...UNFINISHED_FRAMES,
      timeoutMs: config.WEIR_WCS_FRAME_TIMEOUT_MS,
    });
    const peers = new Peers({ bus, instances: this.#peers, log });
    this.operator = new Operator({ peers, media: this.#media, log });
    this.#served = serveSessions(bus, this.sessions);
  }

  webSocketAdapter(app: NestFastifyApplication): WholeFrameAdapter {
    const httpServer: Server = app.getHttpServer();
    return new WholeFrameAdapter({
      httpServer,
      maxPayloadBytes: MAX_PAYLOAD_BYTES,
      unfinishedFrames: this.#unfinishedFrames,
      addressOf: (request) => clientAddress(request, this.context.config.WEIR_WCS_TRUST_FORWARDED),
      hasRoom: () => this.sessions.hasRoom,
    });
  }

  drain(): Promise<void> {
    return this.sessions.drain();
  }

  async close(): Promise<void> {
    this.sessions.close();
    this.#unfinishedFrames.close();
    await this.#served.close();
    await this.#applications.close();
    await this.#credentials.close();
    await Promise.all([this.#media.close(), this.#peers.close()]);
  }
}
