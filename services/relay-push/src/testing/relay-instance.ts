import { randomBytes } from 'node:crypto';
import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { apiKeyNamed, FakeAuth, type KeyHolder } from '@weir/access/testing';
import { Bus } from '@weir/bus';
import { connectRedis, createLogger, Health, parseSettings, platformSettings } from '@weir/platform';
import { checkAnswers } from '@weir/rest/testing';
import { startNats, startPostgres, startRedis, type TestServer } from '@weir/testing';
import { AppModule, httpAdapter } from '../app.module.js';
import { relaySettings, type RelayContext } from '../settings.js';
import { openRelayPush, type RelayPush } from '../relay-push.js';
import type { RelayItem } from '../rest-body.js';

/** The keys that the stand-in for auth knows, with the rights of each: */
export const KEYS = {
  /** `relay` of everything of tenant `house`. */
  operator: apiKeyNamed('operator'),
  /** `relay` of the streams that begin with `lobby`. */
  lobby: apiKeyNamed('lobby'),
  /** As `lobby`, for a test that ends it. */
  ending: apiKeyNamed('ending'),
  /** `play` and `administer` of everything of tenant `house`, but not `relay`. */
  viewer: apiKeyNamed('viewer'),
  /** `relay` of everything of another tenant. */
  neighbour: apiKeyNamed('neighbour'),
} as const;

const HOLDERS: Readonly<Record<string, KeyHolder>> = {
  [KEYS.operator]: { tenant: 'house', grants: [{ verb: 'relay', object: '*' }] },
  [KEYS.lobby]: { tenant: 'house', grants: [{ verb: 'relay', object: 'lobby*' }] },
  [KEYS.ending]: { tenant: 'house', grants: [{ verb: 'relay', object: 'lobby*' }] },
  [KEYS.viewer]: {
    tenant: 'house',
    grants: [
      { verb: 'play', object: '*' },
      { verb: 'administer', object: '*' },
    ],
  },
  [KEYS.neighbour]: { tenant: 'neighbours', grants: [{ verb: 'relay', object: '*' }] },
};

/** What the instances of the service share in a test. */
export interface Surroundings {
  readonly nats: TestServer;
  readonly redis: TestServer;
  readonly postgres: TestServer;
  readonly env: Readonly<Record<string, string>>;
  /** Ends a key, as if an operator had removed it. */
  endKey(key: string): void;
  stop(): Promise<void>;
}

export const startSurroundings = async (): Promise<Surroundings> => {
  const [nats, redis, postgres] = await Promise.all([startNats(), startRedis(), startPostgres()]);
  const auth = await FakeAuth.start(nats.url, { keys: HOLDERS });
  return {
    ...{ nats, redis, postgres },
    env: {
      NATS_URL: nats.url,
      REDIS_URL: redis.url,
      DATABASE_URL: postgres.url,
      LOG_LEVEL: process.env['TEST_LOG_LEVEL'] ?? 'silent',
      WEIR_OUTBOUND_ALLOW: '127.0.0.1',
      WEIR_RELAY_LOCK_MS: '1000',
      WEIR_RELAY_RETRY_MIN_MS: '50',
      WEIR_RELAY_RETRY_MAX_MS: '400',
    },
    endKey: (key) => auth.removeKey(key),
    stop: async () => {
      await auth.stop();
      await Promise.all([nats.stop(), redis.stop(), postgres.stop()]);
    },
  };
};

/** One instance of the service, wired as `runService` wires it, in this process. */
export class RelayInstance {
  isOver = false;

  private constructor(
    readonly context: RelayContext,
    readonly app: NestFastifyApplication,
    readonly relayPush: RelayPush,
  ) {}

  static async start(env: Readonly<Record<string, string>>): Promise<RelayInstance> {
    const config = parseSettings({ ...platformSettings, ...relaySettings }, env);
    const instanceId = `relay-push-${randomBytes(4).toString('hex')}`;
    const log = createLogger('relay-push', instanceId, config.LOG_LEVEL);
    const bus = await Bus.connect({ url: config.NATS_URL, service: 'relay-push', instanceId });
    const redis = connectRedis(config.REDIS_URL, log);
    const context: RelayContext = { service: 'relay-push', instanceId, config, log, bus, redis, health: new Health() };
    const relayPush = await openRelayPush(context);
    const app = await NestFactory.create<NestFastifyApplication>(AppModule.with(relayPush, context), httpAdapter(), {
      logger: false,
      abortOnError: false,
    });
    checkAnswers(app);
    await app.init();
    return new RelayInstance(context, app, relayPush);
  }

  async request(
    method: 'GET' | 'POST',
    path: string,
    { as = KEYS.operator, body }: { as?: string | null; body?: unknown } = {},
  ): Promise<{ status: number; body: string }> {
    const response = await this.app.inject({
      method,
      url: `/rest-api/pull/${path}`,
      headers: {
        ...(as === null ? {} : { authorization: `Bearer ${as}` }),
        ...(method === 'POST' ? { 'content-type': 'application/json' } : {}),
      },
      ...(body === undefined ? {} : { payload: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    return { status: response.statusCode, body: response.body };
  }

  /** The list; empty when the interface answers 404. */
  async list(as?: string): Promise<RelayItem[]> {
    const { status, body } = await this.request('GET', 'find_all', as === undefined ? {} : { as });
    return status === 404 ? [] : (JSON.parse(body) as RelayItem[]);
  }

  async stop(): Promise<void> {
    if (this.isOver) return;
    this.isOver = true;
    await this.app.close();
    await this.relayPush.close();
    await this.context.bus.drain();
    this.context.redis.disconnect();
  }
}
