import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { FakeAuth } from '@weir/access/testing';
import { Bus } from '@weir/bus';
import { closeHttp, parseSettings, platformSettings, SignsOfLife } from '@weir/platform';
import { checkAnswers } from '@weir/rest/testing';
import { startNats, startRedis, type TestServer } from '@weir/testing';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { AppModule, httpAdapter } from '../app.module.js';
import { hlsSettings } from '../settings.js';
import { openHlsPackager, type HlsPackager } from '../hls-packager.js';
import { FakeMedia } from './fake-media.js';

export interface Running {
  readonly packager: HlsPackager;
  readonly bus: Bus;
  readonly url: string;
  readonly port: number;
  /** Stops the service in order. */
  stop(): Promise<void>;
  /** For viewers this looks like kill -9: no answer, and no end of a playlist. */
  die(): Promise<void>;
}

export interface Servers {
  readonly nats: TestServer;
  readonly redis: TestServer;
}

/** Starts the service in this process, with the servers of a test. */
export async function startService(
  servers: Servers,
  env: Record<string, string> = {},
  { instanceId = `hls-packager-${Math.random()}`, port = 0, logLines = [] as string[] } = {},
): Promise<Running> {
  const config = parseSettings({ ...platformSettings, ...hlsSettings }, env);
  const bus = await Bus.connect({ url: servers.nats.url, service: 'hls-packager', instanceId });
  const redis = new Redis(servers.redis.url, { commandTimeout: 1_000, maxRetriesPerRequest: 1 });
  redis.on('error', () => undefined);
  const log = pino(
    { level: 'debug' },
    {
      write: (line: string) => {
        logLines.push(line);
        if (process.env['TEST_LOG'] !== undefined) process.stderr.write(line);
      },
    },
  );
  const context = { bus, redis, log, config, instanceId };
  const packager = await openHlsPackager(context);
  const app = await NestFactory.create<NestFastifyApplication>(
    AppModule.with(packager, context),
    httpAdapter(context),
    {
      logger: false,
      abortOnError: false,
    },
  );
  checkAnswers(app);
  await app.listen(port, '127.0.0.1');
  const signsOfLife = new SignsOfLife(bus, 300);
  signsOfLife.begin();
  const url = (await app.getUrl()).replace('[::1]', '127.0.0.1');
  let stopped = false;
  const stop = async (drains: boolean) => {
    if (stopped) return;
    stopped = true;
    if (drains) await packager.drain();
    else app.getHttpServer().closeAllConnections();
    await closeHttp(app);
    await packager.close();
    signsOfLife.fallSilent();
    await bus.drain({ graceMs: 500 });
    redis.disconnect();
  };
  return { packager, bus, url, port: Number(new URL(url).port), stop: () => stop(true), die: () => stop(false) };
}

export interface Surroundings extends Servers {
  readonly media: FakeMedia;
  readonly auth: FakeAuth;
  stop(): Promise<void>;
}

export async function startSurroundings(): Promise<Surroundings> {
  const [nats, redis] = await Promise.all([startNats(), startRedis()]);
  const [media, auth] = await Promise.all([FakeMedia.start(nats.url), FakeAuth.start(nats.url)]);
  return {
    nats,
    redis,
    media,
    auth,
    stop: async () => {
      await Promise.all([media.stop(), auth.stop()]);
      await Promise.all([nats.stop(), redis.stop()]);
    },
  };
}
