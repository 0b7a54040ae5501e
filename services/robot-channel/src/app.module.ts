import { Module, type DynamicModule } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import type { FastifyAdapter } from '@nestjs/platform-fastify';
import { Access } from '@weir/access';
import { restAdapter, RestErrorFilter } from '@weir/rest';
import { OutboundGuard } from '@weir/outbound';
import type { RobotChannelContext } from './settings.js';
import { Fleet } from './fleet.js';
import { Presence } from './presence.js';
import type { RobotChannel } from './robot-channel.js';
import { RobotsController } from './robots-http.js';

const MAX_BODY_BYTES = 64 * 1024;

@Module({})
export class AppModule {
  static with(
    { access, fleet, presence, guard }: RobotChannel,
    { log }: Pick<RobotChannelContext, 'log'>,
  ): DynamicModule {
    return {
      module: AppModule,
      controllers: [RobotsController],
      providers: [
        { provide: Access, useValue: access },
        { provide: Fleet, useValue: fleet },
        { provide: Presence, useValue: presence },
        { provide: OutboundGuard, useValue: guard },
        { provide: APP_FILTER, useValue: new RestErrorFilter(log) },
      ],
    };
  }
}

export const httpAdapter = (): FastifyAdapter => restAdapter({ maxBodyBytes: MAX_BODY_BYTES });
