import { randomBytes } from 'node:crypto';
import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { apiKeyNamed, FakeAuth, type KeyHolder } from '@weir/access/testing';
import { Bus } from '@weir/bus';
import { InstanceProbe } from '@weir/contracts';
import {
  closeHttp,
  connectRedis,
  createLogger,
  Health,
  parseSettings,
  platformSettings,
  SignsOfLife,
} from '@weir/platform';
import { checkAnswers } from '@weir/rest/testing';
import { startNats, startPostgres, startRedis, waitFor, type TestServer } from '@weir/testing';
import { AppModule, httpAdapter } from '../app.module.js';
import { openCallBroker, type CallBroker } from '../call-broker.js';
import { callBrokerSettings, type CallBrokerContext } from '../settings.js';

/** The API keys that the stand-in for auth knows, with the rights of each: */
export const KEYS = {
  /** Administers everything of tenant `house`. */
  operator: apiKeyNamed('operator'),
  /** Administers robots of tenant `house`, but no apps. */
  robots: apiKeyNamed('robots'),
  /** May do everything in `house` but administer. */
  member: apiKeyNamed('member'),
  /** Administers everything of another tenant. */
  neighbour: apiKeyNamed('neighbour'),
} as const;

const HOLDERS: Readonly<Record<string, KeyHolder>> = {
  [KEYS.operator]: { tenant: 'house', grants: [{ verb: 'administer', object: '*' }] },
  [KEYS.robots]: { tenant: 'house', grants: [{ verb: 'administer', object: 'robots/*' }] },
  [KEYS.member]: {
    tenant: 'house',
    grants: ['publish', 'play', 'record', 'command'].map((verb) => ({ verb, object: '*' })),
  },
  [KEYS.neighbour]: { tenant: 'neighbours', grants: [{ verb: 'administer', object: '*' }] },
};

/** What the instances of the service share in a test. */
export interface Surroundings {
  readonly nats: TestServer;
  readonly redis: TestServer;
  readonly postgres: TestServer;
  readonly env: Readonly<Record<string, string>>;
  stop(): Promise<void>;
}

export const startSurroundings = async (): Promise<Surroundings> => {
  const [nats, redis, postgres] = await Promise.all([startNats(), startRedis(), startPostgres()]);
  const auth = await FakeAuth.start(nats.url, { keys: HOLDERS });
  return {
    ...{ nats, redis, postgres },
    env: {
      ...{ NATS_URL: nats.url, REDIS_URL: redis.url, DATABASE_URL: postgres.url },
      LOG_LEVEL: process.env['TEST_LOG_LEVEL'] ?? 'silent',
      WEIR_OUTBOUND_ALLOW: '127.0.0.1',
    },
    stop: async () => {
      await auth.stop();
      await Promise.all([nats.stop(), redis.stop(), postgres.stop()]);
    },
  };
};

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- specs look at members that their assertions describe
export type Answered = any;

export interface Asking {
  /** An operator's API key. */
  readonly as?: string | undefined;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** One instance of the service, wired as `runService` wires it, in this process. */
export class Broker {
  isOver = false;

  private constructor(
    readonly context: CallBrokerContext,
    readonly app: NestFastifyApplication,
    readonly service: CallBroker,
    readonly url: string,
    private readonly signsOfLife: SignsOfLife,
  ) {}

  static async start(env: Readonly<Record<string, string>>): Promise<Broker> {
    const config = parseSettings({ ...platformSettings, ...callBrokerSettings }, env);
    const instanceId = `call-broker-${randomBytes(4).toString('hex')}`;
    const log = createLogger('call-broker', instanceId, config.LOG_LEVEL);
    const bus = await Bus.connect({ url: config.NATS_URL, service: 'call-broker', instanceId });
    const redis = connectRedis(config.REDIS_URL, log);
    await waitFor(() => redis.status === 'ready', { what: 'Redis' });
    const health = new Health();
    const context: CallBrokerContext = { service: 'call-broker', instanceId, config, log, bus, redis, health };
    const service = await openCallBroker(context);
    const app = await NestFactory.create<NestFastifyApplication>(AppModule.with(service, context), httpAdapter(), {
      logger: false,
      abortOnError: false,
    });
    checkAnswers(app);
    service.listen(app);
    await app.listen(0, '127.0.0.1');
    bus.serve(InstanceProbe.method.answer, () => ({}));
    const signsOfLife = new SignsOfLife(bus, 300);
    signsOfLife.begin();
    return new Broker(context, app, service, await app.getUrl(), signsOfLife);
  }

  async request(
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    path: string,
    { as, body, headers = {} }: Asking = {},
  ): Promise<{ status: number; body: Answered; headers: Record<string, unknown>; bytes: Buffer }> {
    const response = await this.app.inject({
      method,
      url: path,
      headers: { ...(as !== undefined && { authorization: `Bearer ${as}` }), ...headers },
      ...(body !== undefined && { payload: Buffer.isBuffer(body) ? body : JSON.stringify(body) }),
    });
    const isJson = String(response.headers['content-type']).includes('json');
    return {
      ...{ status: response.statusCode, headers: response.headers, bytes: response.rawPayload },
      body: isJson ? response.json() : response.body,
    };
  }

  /** Stops in the same order as `runService`. */
  async stop(): Promise<void> {
    if (this.isOver) return;
    this.isOver = true;
    await this.service.drain();
    await closeHttp(this.app);
    await this.service.close();
    this.signsOfLife.fallSilent();
    await this.context.bus.drain({ graceMs: 500 });
    this.context.redis.disconnect();
  }

  /** As close to a kill as possible within one process: nothing is sent or written any more, then the sockets break. */
  async crash(): Promise<void> {
    if (this.isOver) return;
    this.isOver = true;
    this.signsOfLife.fallSilent();
    this.context.redis.disconnect();
    await this.context.bus.drain({ graceMs: 0 });
    const closing = this.app.close();
    this.app.getHttpServer().closeAllConnections();
    await this.service.apps.close();
    await this.service.drain();
    await closing;
    await this.service.close();
  }
}
