import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { RECORDING_AUDIENCE, revocationKey, TOKEN_ISSUER } from '@weir/access';
import { Bus } from '@weir/bus';
import { Auth, AuthEvents } from '@weir/contracts';
import { connectRedis, createLogger, Health, parseSettings, platformSettings } from '@weir/platform';
import { checkAnswers } from '@weir/rest/testing';
import { startNats, startPostgres, startRedis, type TestServer } from '@weir/testing';
import type { Redis } from 'ioredis';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { WebSocket } from 'ws';
import { AppModule, httpAdapter } from '../app.module.js';
import { recordingSettings, type RecordingContext } from '../settings.js';
import { openRecording, type Recording } from '../recording.js';

/** Signs tokens, as the auth service does. */
export class TokenMaker {
  private constructor(
    private readonly bus: Bus,
    private readonly redis: Redis,
    private readonly key: Awaited<ReturnType<typeof generateKeyPair>>['privateKey'],
  ) {}

  static async start(natsUrl: string, redis: Redis): Promise<TokenMaker> {
    const { publicKey, privateKey } = await generateKeyPair('EdDSA', { extractable: true });
    const jwk = { ...(await exportJWK(publicKey)), kid: 'k', alg: 'EdDSA', use: 'sig' };
    const bus = await Bus.connect({ url: natsUrl, service: 'auth', instanceId: 'auth-1' });
    bus.serve(Auth.method.getJwks, () => ({ json: JSON.stringify({ keys: [jwk] }) }));
    bus.serve(Auth.method.findEnded, () => ({ ended: [] }));
    return new TokenMaker(bus, redis, privateKey);
  }

  make(claims: Record<string, unknown>, tokenId: string = randomUUID()): Promise<string> {
    return new SignJWT({ tenant: 'acme', api_id: 'doors', jti: tokenId, ...claims })
      .setProtectedHeader({ alg: 'EdDSA', kid: 'k' })
      .setIssuer(TOKEN_ISSUER)
      .setAudience(RECORDING_AUDIENCE)
      .setIssuedAt()
      .setExpirationTime('1h')
      .sign(this.key);
  }

  async revoke(tokenId: string): Promise<void> {
    await this.redis.set(revocationKey(tokenId), '1', 'PX', 60_000);
    this.bus.publish(AuthEvents.method.tokenRevoked, { tokenId });
  }

  async stop(): Promise<void> {
    await this.bus.drain();
  }
}

/** The servers that the instances of a test share. */
export interface Surroundings {
  readonly nats: TestServer;
  readonly redis: Redis;
  readonly env: Readonly<Record<string, string>>;
  stop(): Promise<void>;
}

export const startSurroundings = async (): Promise<Surroundings> => {
  const [nats, redisServer, postgres] = await Promise.all([startNats(), startRedis(), startPostgres()]);
  const folder = await mkdtemp(path.join(tmpdir(), 'weir-recording-'));
  const redis = connectRedis(redisServer.url, createLogger('recording', 'spec', 'silent'));
  const env = {
    ...{ NATS_URL: nats.url, REDIS_URL: redisServer.url, DATABASE_URL: postgres.url, LOG_LEVEL: 'silent' },
    ...{ WEIR_RECORDING_DIR: folder, WEIR_OUTBOUND_ALLOW: '127.0.0.1' },
  };
  return {
    ...{ nats, redis, env },
    stop: async () => {
      redis.disconnect();
      await Promise.all([nats.stop(), redisServer.stop(), postgres.stop()]);
      await rm(folder, { recursive: true });
    },
  };
};

/** One instance of the service in this process, wired as `runService` wires it. */
export class RecordingInstance {
  private constructor(
    readonly context: RecordingContext,
    readonly app: NestFastifyApplication,
    readonly recording: Recording,
    readonly url: string,
  ) {}

  static async start(env: Readonly<Record<string, string>>): Promise<RecordingInstance> {
    const config = parseSettings({ ...platformSettings, ...recordingSettings }, env);
    const instanceId = `recording-${randomBytes(4).toString('hex')}`;
    const log = createLogger('recording', instanceId, config.LOG_LEVEL);
    const bus = await Bus.connect({ url: config.NATS_URL, service: 'recording', instanceId });
    const redis = connectRedis(config.REDIS_URL, log);
    if (redis.status !== 'ready') await once(redis, 'ready');
    const health = new Health();
    const context: RecordingContext = { service: 'recording', instanceId, config, log, bus, redis, health };
    const recording = await openRecording(context);
    const app = await NestFactory.create<NestFastifyApplication>(AppModule.with(recording, context), httpAdapter(), {
      logger: false,
      abortOnError: false,
    });
    checkAnswers(app);
    recording.listen(app);
    await app.listen(0, '127.0.0.1');
    return new RecordingInstance(context, app, recording, await app.getUrl());
  }

  async request(method: 'GET' | 'POST', url: string, token: string | undefined, body?: unknown) {
    const response = await this.app.inject({
      ...{ method, url },
      headers: {
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        // As curl's -d and the first generation's SDK send it.
        ...(body !== undefined && { 'content-type': 'text/plain;charset=UTF-8' }),
      },
      ...(body !== undefined && { payload: JSON.stringify(body) }),
    });
    return { status: response.statusCode, json: response.json() };
  }

  async stop(): Promise<void> {
    await this.recording.drain();
    await this.app.close();
    await this.recording.close();
    await this.context.bus.drain();
    this.context.redis.disconnect();
  }
}

interface ServerFrame {
  readonly type: string;
  readonly client_id: string;
  readonly session_id?: string;
  readonly rec_id?: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** The client's end of a socket. */
export class RtmClient {
  readonly frames: ServerFrame[] = [];
  readonly #socket: WebSocket;
  closed: { code: number; reason: string } | undefined;

  constructor(url: string, headers: Record<string, string> = {}, autoPong = true) {
    this.#socket = new WebSocket(url, { headers, autoPong });
    this.#socket.on('message', (data: Buffer) => this.frames.push(JSON.parse(data.toString()) as ServerFrame));
    this.#socket.on('close', (code, reason) => (this.closed = { code, reason: reason.toString() }));
    this.#socket.on('error', () => undefined);
  }

  /** The HTTP status with which a socket is refused. */
  static refusal(url: string): Promise<number | undefined> {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(url);
      socket.on('unexpected-response', (_request, { statusCode }) => resolve(statusCode));
      socket.on('open', () => reject(new Error('the socket was opened')));
      socket.on('error', () => undefined);
    });
  }

  async opened(): Promise<this> {
    await once(this.#socket, 'open');
    return this;
  }

  say(frame: unknown): void {
    this.#socket.send(JSON.stringify(frame));
  }

  /** Ends the connection without a close frame. */
  drop(): void {
    this.#socket.terminate();
  }

  get types(): string[] {
    return this.frames.map(({ type }) => type);
  }
}
