import { Module, type DynamicModule } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import type { FastifyAdapter } from '@nestjs/platform-fastify';
import { Access, restAdapter, RestErrorFilter } from '@weir/access';
import { OutboundGuard } from '@weir/outbound';
import type { RobotChannelContext } from './config.js';
import { Fleet } from './fleet.js';
import { Presence } from './presence.js';
import { RobotChannel } from './robot-channel.js';
import { RobotsController } from './robots-http.js';

const MAX_BODY_BYTES = 64 * 1024;

@Module({})
export class AppModule {
  static with(context: RobotChannelContext): DynamicModule {
    const part = <Part>(token: abstract new (...args: never[]) => Part, select: (channel: RobotChannel) => Part) => ({
      provide: token,
      useFactory: select,
      inject: [RobotChannel],
    });
    return {
      module: AppModule,
      controllers: [RobotsController],
      providers: [
        { provide: RobotChannel, useFactory: () => RobotChannel.open(context) },
        part(Access, (channel) => channel.access),
        part(Fleet, (channel) => channel.fleet),
        part(Presence, (channel) => channel.presence),
        part(OutboundGuard, (channel) => channel.guard),
        { provide: APP_FILTER, useValue: new RestErrorFilter(context.log) },
      ],
    };
  }
}

export const httpAdapter = (): FastifyAdapter => restAdapter({ maxBodyBytes: MAX_BODY_BYTES });
