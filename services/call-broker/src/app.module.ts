import { Module, type DynamicModule } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import type { FastifyAdapter } from '@nestjs/platform-fastify';
import { Access } from '@weir/access';
import { restAdapter } from '@weir/rest';
import { AppStore } from './app-store.js';
import { AppsController } from './apps-http.js';
import { Calls } from './calls.js';
import { CallsController } from './calls-http.js';
import type { CallBroker } from './call-broker.js';
import { Covers } from './covers.js';
import { errorBody, ErrorFilter } from './error-filter.js';
import { requestIdOf } from './request-id.js';
import type { CallBrokerContext } from './settings.js';
import { SnapshotsController, UPLOAD } from './snapshots-http.js';
import { WebApiCallers } from './web-api-callers.js';
import { WEB_API, WebApiController } from './web-api-http.js';

/** A push has up to a thousand messages. */
const MAX_BODY_BYTES = 1024 * 1024;

@Module({})
export class AppModule {
  static with(
    { access, apps, callers, calls, covers, webApi }: CallBroker,
    { log }: Pick<CallBrokerContext, 'log'>,
  ): DynamicModule {
    return {
      module: AppModule,
      controllers: [AppsController, CallsController, WebApiController, SnapshotsController],
      providers: [
        { provide: Access, useValue: access },
        { provide: AppStore, useValue: apps },
        { provide: WebApiCallers, useValue: callers },
        { provide: Calls, useValue: calls },
        { provide: Covers, useValue: covers },
        { provide: WEB_API, useValue: webApi },
        { provide: APP_FILTER, useValue: new ErrorFilter(log) },
      ],
    };
  }
}

export const httpAdapter = (): FastifyAdapter => {
  const adapter = restAdapter({
    // Only the gateway reaches this service, and it tells from where a client comes.
    ...{ maxBodyBytes: MAX_BODY_BYTES, trustProxy: true, bodyOf: errorBody },
    byteRoutes: new Map([[UPLOAD.route, UPLOAD.maxBodyBytes]]),
  });
  adapter.getInstance().addHook('onSend', async (request, reply, payload) => {
    reply.header('x-request-id', requestIdOf(request));
    return payload;
  });
  return adapter;
};
