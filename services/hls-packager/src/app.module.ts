import { Module, type DynamicModule } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import type { FastifyAdapter } from '@nestjs/platform-fastify';
import { restAdapter } from '@weir/rest';
import { ErrorFilter, errorBody } from './error-filter.js';
import type { HlsContext, HlsPackager } from './hls-packager.js';
import { HlsMetrics } from './metrics.js';
import { PublicUrl, StreamController } from './stream-http.js';
import { VideosController } from './videos-http.js';
import { Videos } from './videos.js';

const MAX_BODY_BYTES = 16 * 1024;

@Module({})
export class AppModule {
  static with({ videos, metrics }: HlsPackager, { config, log }: Pick<HlsContext, 'config' | 'log'>): DynamicModule {
    return {
      module: AppModule,
      controllers: [StreamController, VideosController],
      providers: [
        { provide: Videos, useValue: videos },
        { provide: HlsMetrics, useValue: metrics },
        { provide: PublicUrl, useValue: new PublicUrl(config.WEIR_PUBLIC_URL) },
        { provide: APP_FILTER, useValue: new ErrorFilter(log, metrics) },
      ],
    };
  }
}

/** Takes the client's address, the scheme and the host from the gateway's headers, if the setting trusts them. */
export const httpAdapter = ({ config }: Pick<HlsContext, 'config'>): FastifyAdapter =>
  restAdapter({
    maxBodyBytes: MAX_BODY_BYTES,
    trustProxy: config.WEIR_HLS_TRUST_FORWARDED,
    bodyOf: errorBody,
  });
