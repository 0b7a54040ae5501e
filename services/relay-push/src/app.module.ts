import { Module, type DynamicModule } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import type { FastifyAdapter } from '@nestjs/platform-fastify';
import { Access, restAdapter } from '@weir/access';
import type { RelayContext } from './config.js';
import { ErrorFilter } from './error-filter.js';
import { openRelayPush, type RelayPush } from './relay-push.js';
import { Relays } from './relays.js';
import { PullController } from './rest.js';

const MAX_BODY_BYTES = 16 * 1024;

/** The injection token of the `RelayPush` that `openRelayPush` makes. */
export const RELAY_PUSH = Symbol('relay-push');

@Module({})
export class AppModule {
  static with(context: RelayContext): DynamicModule {
    return {
      module: AppModule,
      controllers: [PullController],
      providers: [
        { provide: RELAY_PUSH, useFactory: () => openRelayPush(context) },
        { provide: Access, useFactory: (relayPush: RelayPush) => relayPush.access, inject: [RELAY_PUSH] },
        { provide: Relays, useFactory: (relayPush: RelayPush) => relayPush.relays, inject: [RELAY_PUSH] },
        { provide: APP_FILTER, useValue: new ErrorFilter(context.log) },
      ],
    };
  }
}

export const httpAdapter = (): FastifyAdapter => restAdapter({ maxBodyBytes: MAX_BODY_BYTES });
