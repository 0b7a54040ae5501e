import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { Bus } from '@weir/bus';
import { connectRedis, createLogger, Health, parseSettings, platformSettings } from '@weir/platform';
import { checkAnswers } from '@weir/rest/testing';
import { startNats, startPostgres, startRedis, type TestServer } from '@weir/testing';
import { AppModule, httpAdapter } from '../app.module.js';
import { openAuth, type Auth } from '../auth.js';
import { authSettings, type AuthContext } from '../settings.js';

/** The servers and the folder that the instances of a test share. */
export interface Surroundings {
  readonly nats: TestServer;
  readonly redis: TestServer;
  readonly postgres: TestServer;
  readonly folder: string;
  readonly env: Readonly<Record<string, string>>;
  stop(): Promise<void>;
}

export const newSigningKey = (): string =>
  generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();

export const startSurroundings = async (): Promise<Surroundings> => {
  const [nats, redis, postgres] = await Promise.all([startNats(), startRedis(), startPostgres()]);
  const folder = await mkdtemp(path.join(tmpdir(), 'weir-auth-'));
  const keysFile = path.join(folder, 'signing-keys.pem');
  await writeFile(keysFile, newSigningKey(), { mode: 0o600 });
  return {
    nats,
    redis,
    postgres,
    folder,
    env: {
      NATS_URL: nats.url,
      REDIS_URL: redis.url,
      DATABASE_URL: postgres.url,
      LOG_LEVEL: 'silent',
      WEIR_AUTH_SIGNING_KEYS_FILE: keysFile,
    },
    stop: async () => {
      await Promise.all([nats.stop(), redis.stop(), postgres.stop()]);
      await rm(folder, { recursive: true });
    },
  };
};

/** One instance of the service in this process, wired as `runService` wires it. */
export class AuthInstance {
  private constructor(
    readonly context: AuthContext,
    readonly app: NestFastifyApplication,
    readonly auth: Auth,
  ) {}

  static async start(env: Readonly<Record<string, string>>): Promise<AuthInstance> {
    const config = parseSettings({ ...platformSettings, ...authSettings }, env);
    const instanceId = `auth-${randomBytes(4).toString('hex')}`;
    const log = createLogger('auth', instanceId, config.LOG_LEVEL);
    const bus = await Bus.connect({ url: config.NATS_URL, service: 'auth', instanceId });
    const redis = connectRedis(config.REDIS_URL, log);
    const context: AuthContext = { service: 'auth', instanceId, config, log, bus, redis, health: new Health() };
    const auth = await openAuth(context);
    const app = await NestFactory.create<NestFastifyApplication>(AppModule.with(auth, context), httpAdapter(context), {
      logger: false,
      abortOnError: false,
    });
    checkAnswers(app);
    await app.init();
    return new AuthInstance(context, app, auth);
  }

  /** A JSON request. `as` is an API key or token. */
  async request(
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    url: string,
    {
      as,
      body,
      headers = {},
      from,
    }: { as?: string; body?: unknown; headers?: Record<string, string>; from?: string } = {},
  ) {
    const response = await this.app.inject({
      method,
      url,
      headers: {
        ...(as !== undefined && { authorization: `Bearer ${as}` }),
        ...(from !== undefined && { 'x-forwarded-for': from }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { payload: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    return {
      status: response.statusCode,
      headers: response.headers,
      json: response.body === '' ? undefined : response.json(),
    };
  }

  async stop(): Promise<void> {
    await this.app.close();
    await this.auth.close();
    await this.context.bus.drain();
    this.context.redis.disconnect();
  }
}
