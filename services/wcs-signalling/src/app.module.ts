import { Module, type DynamicModule } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import type { FastifyAdapter } from '@nestjs/platform-fastify';
import { Access } from '@weir/access';
import { restAdapter } from '@weir/rest';
import { ErrorFilter } from './error-filter.js';
import { Operator } from './operator.js';
import { ConnectionController, StreamController } from './rest.js';
import { Sessions } from './sessions.js';
import type { WcsContext, WcsSignalling } from './wcs-signalling.js';
import { GATEWAY_OPTIONS, WcsGateway, type GatewayOptions } from './ws.js';

const MAX_BODY_BYTES = 64 * 1024;

@Module({})
export class AppModule {
  static with(
    { access, sessions, operator, refusals }: WcsSignalling,
    { config, log }: Pick<WcsContext, 'config' | 'log'>,
  ): DynamicModule {
    const gatewayOptions: GatewayOptions = { refusals, trustForwarded: config.WEIR_WCS_TRUST_FORWARDED };
    return {
      module: AppModule,
      controllers: [StreamController, ConnectionController],
      providers: [
        { provide: Access, useValue: access },
        { provide: Sessions, useValue: sessions },
        { provide: Operator, useValue: operator },
        { provide: GATEWAY_OPTIONS, useValue: gatewayOptions },
        WcsGateway,
        { provide: APP_FILTER, useValue: new ErrorFilter(log) },
      ],
    };
  }
}

export const httpAdapter = (): FastifyAdapter => restAdapter({ maxBodyBytes: MAX_BODY_BYTES });
