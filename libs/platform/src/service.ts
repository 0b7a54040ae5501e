import { randomBytes } from 'node:crypto';
import { Controller, Get, Inject, Module, Res, type DynamicModule } from '@nestjs/common';
import { APP_FILTER, NestFactory } from '@nestjs/core';
import type { FastifyAdapter, NestFastifyApplication } from '@nestjs/platform-fastify';
import { restAdapter, RestErrorFilter } from '@weir/rest';
import { Bus } from '@weir/bus';
import { InstanceProbe } from '@weir/contracts';
import { within } from '@weir/timing';
import type { FastifyReply } from 'fastify';
import type { Redis } from 'ioredis';
import { closeHttp } from './close-http.js';
import { Health } from './health.js';
import { createLogger, nestLogger, type Logger } from './logger.js';
import { connectRedis } from './redis.js';
import {
  parseSettings,
  platformSettings,
  SettingsError,
  type PlatformSettings,
  type Settings,
  type SettingsShape,
} from './settings.js';
import { SignsOfLife } from './signs-of-life.js';
import { shutdownTelemetry } from './telemetry.js';

/** What the platform gives a service to run with. The platform creates all of it and closes it. */
export interface ServiceContext<Shape extends SettingsShape = SettingsShape> {
  service: string;
  /** A new id for each start of the process. */
  instanceId: string;
  config: PlatformSettings & Settings<Shape>;
  log: Logger;
  bus: Bus;
  redis: Redis;
  health: Health;
}

/** A whole service except its HTTP edge, opened. */
export interface OpenService {
  /** Called last, before the HTTP port opens. */
  listen?(app: NestFastifyApplication): void | Promise<void>;
  /** Finishes work in progress. */
  drain?(): Promise<void>;
  /** Releases everything that the service owns. `openInOrder` provides it. */
  close(): Promise<void>;
}

export interface ServiceDefinition<Shape extends SettingsShape, Service extends OpenService> {
  /** The folder's name in `services/`. */
  service: string;
  settings: Shape;
  open(context: ServiceContext<Shape>): Promise<Service>;
  /** The service's one Nest module, for its HTTP edge, with the filter that shapes its errors. */
  module?(service: Service, context: ServiceContext<Shape>): DynamicModule;
  adapter?(context: ServiceContext<Shape>): FastifyAdapter;
}

/**
 * Runs a service until SIGTERM or SIGINT. The close order: the health report says draining, work in progress finishes,
 * HTTP and WebSocket close, the service releases what it owns, the bus drains, Redis closes, telemetry is flushed.
 */
export async function runService<Shape extends SettingsShape, Service extends OpenService>(
  definition: ServiceDefinition<Shape, Service>,
): Promise<void> {
  const { service } = definition;
  const config = readSettings(service, { ...platformSettings, ...definition.settings }) as PlatformSettings &
    Settings<Shape>;
  const instanceId = `${service}-${randomBytes(6).toString('hex')}`;
  const log = createLogger(service, instanceId, config.LOG_LEVEL);
  const unexpected = watchUnexpectedErrors(log);

  const bus = await Bus.connect({ url: config.NATS_URL, service, instanceId, log });
  const signsOfLife = new SignsOfLife(bus);
  const redis = connectRedis(config.REDIS_URL, log);
  const health = new Health();
  health.check('nats', async () => {
    if (!bus.connected) throw new Error('no connection to NATS; see NATS_URL');
    await bus.flush();
  });
  health.check('redis', async () => {
    await redis.ping();
  });
  const context: ServiceContext<Shape> = { service, instanceId, config, log, bus, redis, health };

  const running = await definition.open(context);
  const app = await NestFactory.create<NestFastifyApplication>(
    appModule(health, log, definition.module?.(running, context)),
    definition.adapter?.(context) ?? restAdapter(),
    { logger: nestLogger(log), abortOnError: false },
  );
  await running.listen?.(app);
  await app.listen(config.WEIR_LISTEN_PORT, config.WEIR_LISTEN_HOST);

  bus.serve(InstanceProbe.method.answer, () => ({}));
  let draining = false;

  const stop = async (signal: string) => {
    if (draining) return;
    draining = true;
    log.info({ signal }, 'service stopping');
    health.drain('the service is stopping');
    signsOfLife.drain();
    setTimeout(() => {
      log.error('service did not stop in time');
      process.exit(1);
    }, config.WEIR_DRAIN_TIMEOUT_MS + 5_000).unref();
    await within(config.WEIR_DRAIN_TIMEOUT_MS, running.drain?.() ?? Promise.resolve(), () => undefined);
    await closeHttp(app);
    await running.close();
    signsOfLife.end();
    await bus.drain();
    redis.disconnect();
    await shutdownTelemetry();
    log.info('service stopped');
    process.exit(0);
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.on(signal, () => {
      stop(signal).catch((error: unknown) => {
        log.fatal({ err: error }, 'service failed while stopping');
        process.exit(1);
      });
    });
  // From this event on, others know the service and may ask it to stop.
  signsOfLife.begin();
  unexpected.started();
  log.info({ url: await app.getUrl(), startMs: Math.round(process.uptime() * 1_000) }, 'service started');
}

function readSettings<Shape extends SettingsShape>(service: string, shape: Shape): Settings<Shape> {
  try {
    return parseSettings(shape, process.env);
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    process.stderr.write(`${service}: ${error.message}\n`);
    process.exit(78); // EX_CONFIG of sysexits.h
  }
}

/** Codes of a stream's errors after its other end has gone. They become exceptions when the stream has no listener. */
const STREAM_ERRORS: ReadonlySet<unknown> = new Set([
  ...['ECONNRESET', 'ECONNABORTED', 'EPIPE', 'ETIMEDOUT', 'ABORT_ERR'],
  ...['ERR_STREAM_DESTROYED', 'ERR_STREAM_PREMATURE_CLOSE', 'ERR_STREAM_WRITE_AFTER_END', 'UND_ERR_ABORTED'],
]);

/**
 * An unexpected exception ends the process, because it may leave the process in any state. Once the service has
 * started, two kinds of error don't end it: an unhandled rejection and an unhandled error of a broken stream. Each
 * concerns one request only, and a client that can cause one could otherwise end everyone's work. Both are defects and
 * are logged as errors.
 */
function watchUnexpectedErrors(log: Logger): { started(): void } {
  let hasStarted = false;
  const end = (error: unknown) => {
    log.fatal({ err: error }, 'unexpected error, the process ends');
    process.exit(1);
  };
  process.on('uncaughtException', (error: NodeJS.ErrnoException) => {
    if (hasStarted && STREAM_ERRORS.has(error.code))
      log.error({ err: error }, 'unhandled error of a stream; the process goes on');
    else end(error);
  });
  process.on('unhandledRejection', (reason) => {
    if (hasStarted) log.error({ err: reason }, 'unhandled rejection of a promise; the process goes on');
    else end(reason);
  });
  return {
    started: () => {
      hasStarted = true;
    },
  };
}

@Controller()
class HealthController {
  constructor(@Inject(Health) private readonly health: Health) {}

  @Get('healthz')
  async healthz(@Res() reply: FastifyReply): Promise<void> {
    const report = await this.health.report();
    await reply.code(report.status === 'ok' ? 200 : 503).send(report);
  }
}

@Module({})
class PlatformModule {}

const appModule = (health: Health, log: Logger, service: DynamicModule | undefined): DynamicModule => ({
  module: PlatformModule,
  imports: service === undefined ? [] : [service],
  controllers: [HealthController],
  providers: [
    { provide: Health, useValue: health },
    ...(service === undefined ? [{ provide: APP_FILTER, useValue: new RestErrorFilter(log) }] : []),
  ],
});
