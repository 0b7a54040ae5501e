import { Module, type DynamicModule } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import type { FastifyAdapter } from '@nestjs/platform-fastify';
import { Access } from '@weir/access';
import { restAdapter } from '@weir/rest';
import type { RecordingContext } from './config.js';
import { ErrorFilter } from './error-filter.js';
import type { Recording } from './recording.js';

const MAX_BODY_BYTES = 64 * 1024;

@Module({})
export class AppModule {
  static with({ access }: Recording, { log }: Pick<RecordingContext, 'log'>): DynamicModule {
    return {
      module: AppModule,
      controllers: [],
      providers: [
        { provide: Access, useValue: access },
        { provide: APP_FILTER, useValue: new ErrorFilter(log) },
      ],
    };
  }
}

export const httpAdapter = (): FastifyAdapter => restAdapter({ maxBodyBytes: MAX_BODY_BYTES });
