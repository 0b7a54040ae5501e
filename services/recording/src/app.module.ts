import { Module, type DynamicModule } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import type { FastifyAdapter } from '@nestjs/platform-fastify';
import { Access } from '@weir/access';
import { restAdapter } from '@weir/rest';
import type { RecordingContext } from './settings.js';
import { Deliveries } from './deliveries.js';
import { DeliveryLog } from './delivery-log.js';
import { DeliveryLogController } from './delivery-log-rest.js';
import { ErrorFilter } from './error-filter.js';
import type { Recording } from './recording.js';
import { Recordings } from './recordings.js';
import { PlaybackUrls, RecordingsController } from './rest.js';
import { RecordingStore } from './store.js';
import { SESSION_EDGE, SessionController } from './session-http.js';

const MAX_BODY_BYTES = 64 * 1024;

@Module({})
export class AppModule {
  static with(
    { access, recordings, store, deliveries, deliveryLog, sessions }: Recording,
    { log, config }: Pick<RecordingContext, 'log' | 'config'>,
  ): DynamicModule {
    return {
      module: AppModule,
      controllers: [RecordingsController, DeliveryLogController, SessionController],
      providers: [
        { provide: Access, useValue: access },
        { provide: Recordings, useValue: recordings },
        { provide: Deliveries, useValue: deliveries },
        { provide: DeliveryLog, useValue: deliveryLog },
        { provide: RecordingStore, useValue: store },
        {
          provide: PlaybackUrls,
          useValue: new PlaybackUrls({ publicUrl: config.WEIR_PUBLIC_URL, ttlMs: config.WEIR_RECORDING_URL_TTL_MS }),
        },
        { provide: SESSION_EDGE, useValue: sessions },
        { provide: APP_FILTER, useValue: new ErrorFilter(log) },
      ],
    };
  }
}

export const httpAdapter = (): FastifyAdapter => restAdapter({ maxBodyBytes: MAX_BODY_BYTES });
