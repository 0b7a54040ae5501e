import { Module, type DynamicModule } from '@nestjs/common';
import type { ServiceContext } from '@weir/platform';
import { edgeConfig, type gatewaySettings } from './config.js';
import { Edge } from './edge.js';

/**
 * The gateway's process. Nest's own HTTP port serves only the process's health; the public ports belong to the edge,
 * which passes bodies and sockets through without Nest's parsers.
 */
@Module({})
export class AppModule {
  static with({ config, redis, log }: ServiceContext<typeof gatewaySettings>): DynamicModule {
    return {
      module: AppModule,
      providers: [
        {
          provide: Edge,
          useFactory: () => new Edge({ config: edgeConfig(config), redis, log, nowMs: Date.now }),
        },
      ],
    };
  }
}
