import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FakeAuth } from '@weir/access/testing';
import { Bus } from '@weir/bus';
import { closeHttp, parseSettings, platformSettings, SignsOfLife } from '@weir/platform';
import { checkAnswers } from '@weir/rest/testing';
import { startNats, startRedis, type TestServer } from '@weir/testing';
import { Redis } from 'ioredis';
import { pino, type Logger } from 'pino';
import { AppModule, httpAdapter } from '../app.module.js';
import { wcsSettings } from '../settings.js';
import { openWcsSignalling, type WcsSignalling } from '../wcs-signalling.js';
import { Applications } from './applications.js';
import { FakeMedia } from './fake-media.js';

export interface Running {
  readonly wcs: WcsSignalling;
  readonly bus: Bus;
  readonly httpUrl: string;
  readonly wsUrl: string;
  stop(): Promise<void>;
}

/** Starts the service in this process, with the servers of a test. */
export async function startService(
  servers: { readonly nats: TestServer; readonly redis: TestServer },
  env: Record<string, string> = {},
  instanceId = 'wcs-signalling-1',
  log: Logger = pino({ level: process.env['TEST_LOG_LEVEL'] ?? 'silent' }),
): Promise<Running> {
  const config = parseSettings({ ...platformSettings, ...wcsSettings }, env);
  const bus = await Bus.connect({ url: servers.nats.url, service: 'wcs-signalling', instanceId });
  const redis = new Redis(servers.redis.url);
  redis.on('error', () => undefined);
  const context = { bus, redis, log, config, instanceId };
  const wcs = await openWcsSignalling(context);
  const app = await NestFactory.create<NestFastifyApplication>(AppModule.with(wcs, context), httpAdapter(), {
    logger: false,
    abortOnError: false,
  });
  checkAnswers(app);
  await app.init();
  wcs.listen(app);
  await app.listen(0, '127.0.0.1');
  const signsOfLife = new SignsOfLife(bus, 300);
  signsOfLife.begin();
  const httpUrl = await app.getUrl();
  let stopped = false;
  return {
    wcs,
    bus,
    httpUrl,
    wsUrl: httpUrl.replace('http', 'ws'),
    stop: async () => {
      if (stopped) return;
      stopped = true;
      await wcs.drain();
      await closeHttp(app);
      await wcs.close();
      signsOfLife.fallSilent();
      await bus.drain({ graceMs: 500 });
      redis.disconnect();
    },
  };
}

export interface Surroundings {
  readonly nats: TestServer;
  readonly redis: TestServer;
  readonly media: FakeMedia;
  readonly auth: FakeAuth;
  readonly applications: Applications;
  stop(): Promise<void>;
}

export async function startSurroundings(): Promise<Surroundings> {
  const [nats, redis] = await Promise.all([startNats(), startRedis()]);
  const [media, applications] = await Promise.all([FakeMedia.start(nats.url), Applications.start(nats.url)]);
  const { auth } = applications;
  return {
    nats,
    redis,
    media,
    auth,
    applications,
    stop: async () => {
      await Promise.all([media.stop(), auth.stop()]);
      await Promise.all([nats.stop(), redis.stop()]);
    },
  };
}
