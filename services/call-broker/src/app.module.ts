import { Module, type DynamicModule } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import type { FastifyAdapter } from '@nestjs/platform-fastify';
import { Access } from '@weir/access';
import { restAdapter } from '@weir/rest';
import { AppStore } from './app-store.js';
import { AppsController } from './apps-http.js';
import type { CallBroker } from './call-broker.js';
import { errorBody, ErrorFilter } from './error-filter.js';
import { requestIdOf } from './request-id.js';
import type { CallBrokerContext } from './settings.js';

const MAX_BODY_BYTES = 64 * 1024;

@Module({})
export class AppModule {
  static with({ access, apps }: CallBroker, { log }: Pick<CallBrokerContext, 'log'>): DynamicModule {
    return {
      module: AppModule,
      controllers: [AppsController],
      providers: [
        { provide: Access, useValue: access },
        { provide: AppStore, useValue: apps },
        { provide: APP_FILTER, useValue: new ErrorFilter(log) },
      ],
    };
  }
}

export const httpAdapter = (): FastifyAdapter => {
  const adapter = restAdapter({ maxBodyBytes: MAX_BODY_BYTES, bodyOf: errorBody });
  adapter.getInstance().addHook('onSend', async (request, reply, payload) => {
    reply.header('x-request-id', requestIdOf(request));
    return payload;
  });
  return adapter;
};
