import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { credentialNameOf, credentialRefMessage, grant, type CredentialRef, type Principal } from '@weir/access';
import { IngestRequestSchema, ErrorCode, NameClaimSchema, SignRtspUrlRequestSchema, WeirError } from '@weir/contracts';
import { OutboundGuard, parseAllowList } from '@weir/outbound';
import { createLogger } from '@weir/platform';
import { freePort } from '@weir/testing';
import type { Redis } from 'ioredis';
import { RtspAccess } from '../src/rtsp-access.js';
import type { CameraTls } from '../src/rtsp-pull.js';
import { RtspServer } from '../src/rtsp-server.js';
import { Sources } from '../src/sources.js';
import { RecordedCore, type Overrides } from './recorded-core.js';

/** The password of somebody who may play everything of the tenant `demo`. */
export const PLAYER_TOKEN = 'a-player';
/** The credential of `PLAYER_TOKEN`. */
export const PLAYER = { kind: 'token', tokenId: 'player-1', expiresAtMs: 2_000_000_000_000 } as const;
/** The passwords of two who may publish `studio/*` of the tenant `demo`. */
export const PUBLISHER_TOKENS = ['a-publisher', 'another-publisher'] as const;
/** The password of somebody who may publish everything of the tenant `demo`. */
export const PUBLISHER_OF_ALL_TOKEN = 'a-publisher-of-all';

/** The credential of whoever has this password. */
export const credentialOf = (token: string) => ({
  ...PLAYER,
  tokenId: token === PLAYER_TOKEN ? PLAYER.tokenId : token,
});

const PRINCIPALS: ReadonlyMap<string, Principal> = new Map(
  [
    { token: PLAYER_TOKEN, verb: 'play' as const, object: '*' },
    ...PUBLISHER_TOKENS.map((token) => ({ token, verb: 'publish' as const, object: 'studio/*' })),
    { token: PUBLISHER_OF_ALL_TOKEN, verb: 'publish' as const, object: '*' },
  ].map(({ token, verb, object }) => [
    token,
    { subject: token, tenant: 'demo', grants: [grant(verb, object)], credential: credentialOf(token) },
  ]),
);

export interface RtspNodeOptions {
  allow?: string;
  maxOwnFeeds?: number;
  connectionsPerAddress?: number;
  cameraTls?: Partial<CameraTls>;
}

/** Credentials that end when a test says so. */
export class FakeCredentials {
  readonly #ended = new Set<string>();
  readonly #watched = new Map<string, Set<() => void>>();

  end(ref: CredentialRef): void {
    const name = credentialNameOf(ref);
    this.#ended.add(name);
    for (const onEnded of this.#watched.get(name) ?? []) onEnded();
  }

  readonly isLive = async (ref: CredentialRef): Promise<boolean> => !this.#ended.has(credentialNameOf(ref));

  readonly watch = (refs: readonly CredentialRef[], onEnded: () => void): (() => void) => {
    for (const name of refs.map(credentialNameOf)) this.#of(name).add(onEnded);
    return () => {
      for (const name of refs.map(credentialNameOf)) this.#of(name).delete(onEnded);
    };
  };

  /** The number of sessions and connections that would end with them. */
  get watchedCount(): number {
    return [...this.#watched.values()].reduce((sum, watching) => sum + watching.size, 0);
  }

  #of(name: string): Set<() => void> {
    const watching = this.#watched.get(name) ?? new Set();
    this.#watched.set(name, watching);
    return watching;
  }
}

/** A media node with RTSP, without the bus. */
export class RtspNode {
  readonly programs: ChildProcess[] = [];

  private constructor(
    readonly recorded: RecordedCore,
    readonly sources: Sources,
    readonly server: RtspServer,
    readonly credentials: FakeCredentials,
  ) {}

  static async start(redis: Redis, overrides: Overrides = {}, options: RtspNodeOptions = {}) {
    const { allow = '127.0.0.0/8', maxOwnFeeds = 50, connectionsPerAddress = 0, cameraTls } = options;
    const recorded = await RecordedCore.start(redis, { maxSessions: 100, ...overrides });
    const port = await freePort();
    const log = createLogger('media', 'node-1', 'silent');
    const credentials = new FakeCredentials();
    const access = new RtspAccess(
      {
        authenticate: async (token) => {
          const principal = PRINCIPALS.get(token);
          if (principal === undefined) throw new WeirError(ErrorCode.UNAUTHENTICATED, 'no such token');
          return principal;
        },
      },
      credentials,
      `rtsp://127.0.0.1:${port}`,
    );
    const sources = new Sources({
      nodeId: 'node-1',
      core: recorded.core,
      notifier: recorded.notifier,
      access,
      credentials,
      guard: new OutboundGuard({ allow: parseAllowList(allow) }),
      cameraTls: { verify: false, ca: undefined, ...cameraTls },
      log,
      sourceGraceMs: 1_500,
      noMediaTimeoutMs: 15_000,
      maxOwnFeeds,
      internalAddress: '127.0.0.1',
    });
    const server = await RtspServer.listen({
      host: '127.0.0.1',
      port,
      core: recorded.core,
      sources,
      access,
      credentials,
      log,
      connectionsPerAddress,
    });
    return new RtspNode(recorded, sources, server, credentials);
  }

  /** A URL that plays the stream, given to the credential's holder. */
  signedPlayUrl(streamName: string, credential?: CredentialRef, expiresInMs = 60_000): string {
    const request = {
      tenant: 'demo',
      streamName,
      expiresInMs,
      ...(credential !== undefined && { credential: credentialRefMessage(credential) }),
    };
    return this.sources.signPlayUrl(create(SignRtspUrlRequestSchema, request));
  }

  /** @returns the URL to push to */
  async awaitPush(
    streamName: string,
    sessionId: string = randomUUID(),
    expiresInMs = 30_000,
    claim: MessageInitShape<typeof NameClaimSchema> = {},
  ): Promise<string> {
    const { pushUrl } = await this.sources.ingest(
      create(IngestRequestSchema, {
        tenant: 'demo',
        streamName,
        sessionId,
        ownerId: 'owner',
        claim,
        source: { case: 'rtspPush', value: { expiresInMs } },
      }),
    );
    return pushUrl ?? '';
  }

  pull(streamName: string, sessionId: string, url: string) {
    return this.sources.ingest(
      create(IngestRequestSchema, {
        tenant: 'demo',
        streamName,
        sessionId,
        ownerId: 'owner',
        source: { case: 'rtspPull', value: { url } },
      }),
    );
  }

  /** A camera: ffmpeg's test picture with a tone, pushed until it is killed. */
  push(url: string, options: readonly string[] = H264_AAC, transport: 'tcp' | 'udp' = 'tcp'): ChildProcess {
    return this.run('ffmpeg', [
      ...['-hide_banner', '-loglevel', 'error', '-nostdin', '-re'],
      ...['-f', 'lavfi', '-i', 'testsrc2=size=320x240:rate=25', '-f', 'lavfi', '-i', 'sine=frequency=440'],
      ...options,
      ...['-f', 'rtsp', '-rtsp_transport', transport, url],
    ]);
  }

  run(program: string, args: readonly string[]): ChildProcess {
    const child = spawn(program, [...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.programs.push(child);
    return child;
  }

  /** Streams that ffmpeg transcodes at this moment. */
  get transcodes(): number {
    return this.recorded.core.transcodeCount;
  }

  playUrl(streamName: string): string {
    return `rtsp://user:${PLAYER_TOKEN}@127.0.0.1:${this.server.port}/demo/${streamName}`;
  }

  publishUrl(streamName: string, token: string = PUBLISHER_TOKENS[0]): string {
    return `rtsp://user:${token}@127.0.0.1:${this.server.port}/demo/${streamName}`;
  }

  async close(): Promise<void> {
    for (const program of this.programs) program.kill('SIGKILL');
    await this.server.close();
    this.recorded.close();
  }
}

const X264 = ['-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-g', '25'];
/** Baseline, no B-frames, a key frame a second. */
export const H264_AAC = [...X264, '-tune', 'zerolatency', '-profile:v', 'baseline', '-c:a', 'aac', '-ar', '48000'];
export const H264_OPUS = [...X264, '-tune', 'zerolatency', '-profile:v', 'baseline', '-c:a', 'libopus'];
/** A camera that makes a key frame only every ten seconds. */
export const H264_LONG_GOP = [...H264_OPUS, '-g', '250'];
export const H264_B_FRAMES = [
  ...['-c:v', 'libx264', '-preset', 'veryfast', '-bf', '2', '-g', '25', '-pix_fmt', 'yuv420p'],
  ...['-c:a', 'libopus'],
];
export const H265_PCMU = [
  ...['-c:v', 'libx265', '-preset', 'ultrafast', '-tune', 'zerolatency', '-pix_fmt', 'yuv420p'],
  ...['-x265-params', 'log-level=none:keyint=25', '-c:a', 'pcm_mulaw', '-ar', '8000', '-ac', '1'],
];
