import 'reflect-metadata';
import { randomBytes } from 'node:crypto';
import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { FakeAuth } from '@weir/access/testing';
import { Bus } from '@weir/bus';
import { closeHttp, createLogger, Health, parseSettings, platformSettings, SignsOfLife } from '@weir/platform';
import { checkAnswers } from '@weir/rest/testing';
import { startNats, startPostgres, startRedis, type TestServer } from '@weir/testing';
import { Redis } from 'ioredis';
import { AppModule, httpAdapter } from '../app.module.js';
import { robotChannelSettings } from '../settings.js';
import { openRobotChannel, type RobotChannel } from '../robot-channel.js';
import { FakeMedia } from './fake-media.js';

/** The servers and stand-in services that the instances of a test share. */
export class Surroundings {
  private constructor(
    readonly nats: TestServer,
    readonly redis: TestServer,
    readonly postgres: TestServer,
    readonly auth: FakeAuth,
    readonly media: FakeMedia,
  ) {}

  static async start(): Promise<Surroundings> {
    const [nats, redis, postgres] = await Promise.all([startNats(), startRedis(), startPostgres()]);
    const [auth, media] = await Promise.all([FakeAuth.start(nats.url), FakeMedia.start(nats.url)]);
    return new Surroundings(nats, redis, postgres, auth, media);
  }

  async stop(): Promise<void> {
    await Promise.all([this.auth.stop(), this.media.stop()]);
    await Promise.all([this.nats.stop(), this.redis.stop(), this.postgres.stop()]);
  }
}

/** One instance of the service, wired as `runService` wires it, in this process. */
export class Instance {
  #stopped = false;

  private constructor(
    readonly channel: RobotChannel,
    readonly bus: Bus,
    readonly redis: Redis,
    readonly app: NestFastifyApplication,
    readonly wsUrl: string,
    private readonly signsOfLife: SignsOfLife,
  ) {}

  static async start(around: Surroundings, env: Readonly<Record<string, string>> = {}): Promise<Instance> {
    const config = parseSettings(
      { ...platformSettings, ...robotChannelSettings },
      { DATABASE_URL: around.postgres.url, WEIR_SINGLE_MACHINE: '1', ...env },
    );
    const instanceId = `robot-channel-${randomBytes(4).toString('hex')}`;
    const log = createLogger('robot-channel', instanceId, process.env['TEST_LOG_LEVEL'] ?? 'silent');
    const bus = await Bus.connect({
      url: around.nats.url,
      service: 'robot-channel',
      instanceId,
      log: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: log.error.bind(log) },
    });
    const redis = new Redis(around.redis.url, {
      maxRetriesPerRequest: 1,
      commandTimeout: 2_000,
      retryStrategy: () => 100,
    });
    redis.on('error', () => undefined);
    const context = { instanceId, config, log, bus, redis, health: new Health() };
    const channel = await openRobotChannel(context);
    const app = await NestFactory.create<NestFastifyApplication>(AppModule.with(channel, context), httpAdapter(), {
      logger: false,
      abortOnError: false,
    });
    checkAnswers(app);
    await app.init();
    channel.listen(app);
    await app.listen(0, '127.0.0.1');
    const signsOfLife = new SignsOfLife(bus, 300);
    signsOfLife.begin();
    const wsUrl = (await app.getUrl()).replace('http', 'ws');
    return new Instance(channel, bus, redis, app, wsUrl, signsOfLife);
  }

  async request(method: 'GET' | 'POST' | 'PUT' | 'DELETE', url: string, as?: string, body?: unknown) {
    const response = await this.app.inject({
      method,
      url,
      headers: {
        ...(as !== undefined && { authorization: `Bearer ${as}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { payload: JSON.stringify(body) }),
    });
    return { status: response.statusCode, json: response.body === '' ? undefined : response.json() };
  }

  /** Stops in the same order as `runService`. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    await this.channel.drain();
    await closeHttp(this.app);
    await this.channel.close();
    this.signsOfLife.fallSilent();
    await this.bus.drain({ graceMs: 500 });
    this.redis.disconnect();
  }

  /** As close to a kill as possible within one process: nothing is sent or written any more, then the sockets break. */
  async crash(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.signsOfLife.fallSilent();
    this.redis.disconnect();
    await this.bus.drain({ graceMs: 0 });
    const closing = this.app.close();
    this.app.getHttpServer().closeAllConnections();
    await this.channel.drain();
    await closing;
    await this.channel.close();
  }
}
