import { Module, type DynamicModule } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import type { FastifyAdapter } from '@nestjs/platform-fastify';
import { Access } from '@weir/access';
import { restAdapter } from '@weir/rest';
import type { RelayContext } from './settings.js';
import { ErrorFilter } from './error-filter.js';
import type { RelayPush } from './relay-push.js';
import { Relays } from './relays.js';
import { PullController } from './rest.js';

const MAX_BODY_BYTES = 16 * 1024;

@Module({})
export class AppModule {
  static with({ access, relays }: RelayPush, { log }: Pick<RelayContext, 'log'>): DynamicModule {
    return {
      module: AppModule,
      controllers: [PullController],
      providers: [
        { provide: Access, useValue: access },
        { provide: Relays, useValue: relays },
        { provide: APP_FILTER, useValue: new ErrorFilter(log) },
      ],
    };
  }
}

export const httpAdapter = (): FastifyAdapter => restAdapter({ maxBodyBytes: MAX_BODY_BYTES });
