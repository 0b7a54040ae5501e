import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { apiKeyNamed, FakeAuth, type KeyHolder } from '@weir/access/testing';
import { Bus } from '@weir/bus';
import { connectRedis, createLogger, Health, parseSettings, platformSettings } from '@weir/platform';
import { checkAnswers } from '@weir/rest/testing';
import { startNats, startPostgres, startRedis, waitFor, type TestServer } from '@weir/testing';
import { AppModule, httpAdapter } from '../app.module.js';
import { recordingSettings, type RecordingContext } from '../settings.js';
import { openRecording, type Recording } from '../recording.js';

/** The keys that the stand-in for auth knows, with the rights of each: */
export const KEYS = {
  /** `record` of everything of tenant `house`. */
  operator: apiKeyNamed('operator'),
  /** `record` of the streams that begin with `lobby`. */
  lobby: apiKeyNamed('lobby'),
  /** `play` and `administer` of everything of tenant `house`, but not `record`. */
  viewer: apiKeyNamed('viewer'),
  /** `record` of everything of another tenant. */
  neighbour: apiKeyNamed('neighbour'),
} as const;

const HOLDERS: Readonly<Record<string, KeyHolder>> = {
  [KEYS.operator]: { tenant: 'house', grants: [{ verb: 'record', object: '*' }] },
  [KEYS.lobby]: { tenant: 'house', grants: [{ verb: 'record', object: 'lobby*' }] },
  [KEYS.viewer]: {
    tenant: 'house',
    grants: [
      { verb: 'play', object: '*' },
      { verb: 'administer', object: '*' },
    ],
  },
  [KEYS.neighbour]: { tenant: 'neighbours', grants: [{ verb: 'record', object: '*' }] },
};

/** What the instances of the service share in a test. */
export interface Surroundings {
  readonly nats: TestServer;
  readonly redis: TestServer;
  readonly postgres: TestServer;
  readonly auth: FakeAuth;
  readonly dir: string;
  readonly env: Readonly<Record<string, string>>;
  stop(): Promise<void>;
}

export const startSurroundings = async (): Promise<Surroundings> => {
  const [nats, redis, postgres] = await Promise.all([startNats(), startRedis(), startPostgres()]);
  const auth = await FakeAuth.start(nats.url, { keys: HOLDERS });
  const dir = await mkdtemp(join(tmpdir(), 'weir-recordings-'));
  return {
    ...{ nats, redis, postgres, auth, dir },
    env: {
      NATS_URL: nats.url,
      REDIS_URL: redis.url,
      DATABASE_URL: postgres.url,
      LOG_LEVEL: process.env['TEST_LOG_LEVEL'] ?? 'silent',
      WEIR_RECORDING_DIR: dir,
      WEIR_RECORDING_LEASE_MS: '1000',
      WEIR_RECORDING_MIN_FREE_BYTES: '0',
      WEIR_RECORDING_UPLOAD_HTTP: '1',
      WEIR_OUTBOUND_ALLOW: '127.0.0.1',
      WEIR_RECORDING_STREAM_WAIT_MS: '3000',
    },
    stop: async () => {
      await auth.stop();
      await Promise.all([nats.stop(), redis.stop(), postgres.stop()]);
      await rm(dir, { recursive: true, force: true });
    },
  };
};

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- specs look at members that their assertions describe
export type Answered = any;

/** One instance of the service, wired as `runService` wires it, in this process. */
export class Recorder {
  isOver = false;

  private constructor(
    readonly context: RecordingContext,
    readonly app: NestFastifyApplication,
    readonly recording: Recording,
    readonly url: string,
  ) {}

  static async start(env: Readonly<Record<string, string>>): Promise<Recorder> {
    const config = parseSettings({ ...platformSettings, ...recordingSettings }, env);
    const instanceId = `recording-${randomBytes(4).toString('hex')}`;
    const log = createLogger('recording', instanceId, config.LOG_LEVEL);
    const bus = await Bus.connect({ url: config.NATS_URL, service: 'recording', instanceId });
    const redis = connectRedis(config.REDIS_URL, log);
    await waitFor(() => redis.status === 'ready', { what: 'Redis' });
    const context: RecordingContext = {
      service: 'recording',
      instanceId,
      config,
      log,
      bus,
      redis,
      health: new Health(),
    };
    const recording = await openRecording(context);
    const app = await NestFactory.create<NestFastifyApplication>(AppModule.with(recording, context), httpAdapter(), {
      logger: false,
      abortOnError: false,
    });
    checkAnswers(app);
    recording.listen(app);
    await app.listen(0, '127.0.0.1');
    return new Recorder(context, app, recording, await app.getUrl());
  }

  async request(
    method: 'GET' | 'POST' | 'DELETE',
    path: string,
    {
      as = KEYS.operator,
      body,
      headers = {},
    }: { as?: string | null; body?: unknown; headers?: Record<string, string> } = {},
  ): Promise<{ status: number; body: Answered; headers: Record<string, unknown>; bytes: Buffer }> {
    const response = await this.app.inject({
      method,
      url: path,
      headers: {
        ...(as === null ? {} : { authorization: `Bearer ${as}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { payload: JSON.stringify(body) }),
    });
    const isJson = String(response.headers['content-type']).includes('json');
    return {
      ...{ status: response.statusCode, headers: response.headers, bytes: response.rawPayload },
      body: isJson ? response.json() : response.body,
    };
  }

  async stop(): Promise<void> {
    if (this.isOver) return;
    this.isOver = true;
    await this.recording.drain();
    await this.app.close();
    await this.recording.close();
    await this.context.bus.drain();
    this.context.redis.disconnect();
  }
}

export interface Probed {
  readonly durationMs: number;
  readonly pictures: number;
  readonly codecs: readonly string[];
  /** What the decoder complained about; empty for a sound file. */
  readonly complaints: string;
}

const run = promisify(execFile);

/** Decodes the file from its first to its last frame. */
export const probed = async (file: string): Promise<Probed> => {
  const { stdout } = await run('ffprobe', [
    ...['-v', 'error', '-count_frames', '-show_entries', 'format=duration:stream=codec_name,codec_type,nb_read_frames'],
    ...['-of', 'json', file],
  ]);
  const { format, streams } = JSON.parse(stdout) as {
    format: { duration?: string };
    streams: { codec_name: string; codec_type: string; nb_read_frames?: string }[];
  };
  const { stderr } = await run('ffmpeg', [
    '-v',
    'warning',
    '-nostdin',
    '-i',
    file,
    '-fps_mode',
    'passthrough',
    '-enc_time_base:v',
    '-1',
    '-f',
    'null',
    '-',
  ]);
  return {
    durationMs: Number(format.duration) * 1_000,
    pictures: Number(streams.find(({ codec_type }) => codec_type === 'video')?.nb_read_frames ?? 0),
    codecs: streams.map(({ codec_name }) => codec_name).sort(),
    complaints: stderr,
  };
};
