import { Module, type DynamicModule } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import type { FastifyAdapter } from '@nestjs/platform-fastify';
import { Access } from '@weir/access';
import { restAdapter } from '@weir/rest';
import { ErrorFilter } from './error-filter.js';
import { Operator } from './operator.js';
import { ConnectionController, RecorderController, StreamController } from './rest.js';
import { Sessions } from './sessions.js';
import type { WcsContext, WcsSignalling } from './wcs-signalling.js';

const MAX_BODY_BYTES = 64 * 1024;

@Module({})
export class AppModule {
  static with({ access, sessions, operator }: WcsSignalling, { log }: Pick<WcsContext, 'log'>): DynamicModule {
    return {
      module: AppModule,
      controllers: [StreamController, RecorderController, ConnectionController],
      providers: [
        { provide: Access, useValue: access },
        { provide: Sessions, useValue: sessions },
        { provide: Operator, useValue: operator },
        { provide: APP_FILTER, useValue: new ErrorFilter(log) },
      ],
    };
  }
}

export const httpAdapter = (): FastifyAdapter => restAdapter({ maxBodyBytes: MAX_BODY_BYTES });
