import { ReservedNames } from '@weir/access';
import type { EndReason } from '@weir/contracts';
import { createLogger } from '@weir/platform';
import type { Redis } from 'ioredis';
import type { SessionNotifier } from '../src/notifier.js';
import { MediaCore, type MediaCoreOptions } from '../src/core.js';
import { mediaAddresses, type MediaAddresses } from '../src/media-addresses.js';
import { StreamRegistry } from '../src/registry.js';
import { WebRtc, type WebRtcOptions } from '../src/webrtc.js';
import { WorkerPool } from '../src/worker-pool.js';

export interface Told {
  sessionId: string;
  what: 'connected' | 'ended' | 'video-size' | 'stats' | 'signal' | 'bandwidth' | 'offer' | 'not-carried';
  reason?: EndReason;
  detail?: string;
  width?: number;
  height?: number;
  sdp?: string;
}

/** Settings that differ from those of the tests. */
export type Overrides = Partial<
  Pick<MediaCoreOptions, 'maxSessions' | 'maxTranscodes'> &
    Pick<WebRtcOptions, 'connectTimeoutMs' | 'consentTimeoutMs' | 'noMediaTimeoutMs' | 'rtpActivity'>
>;

export interface MediaSockets {
  addresses?: MediaAddresses;
  /** 0 for any free port. */
  firstPort?: number;
}

/** A media core on real workers and a real Redis. What it tells owners and other nodes is recorded. */
export class RecordedCore {
  readonly told: Told[] = [];
  readonly streamEvents: { name: string; what: 'started' | 'ended'; reason?: EndReason }[] = [];
  readonly goneNodes = new Set<string>();
  readonly core: MediaCore;
  readonly webRtc: WebRtc;
  readonly notifier: SessionNotifier;

  private constructor(
    readonly workers: WorkerPool,
    redis: Redis,
    overrides: Overrides,
  ) {
    const { told, streamEvents } = this;
    this.notifier = {
      connected: ({ sessionId }) => void told.push({ sessionId, what: 'connected' }),
      ended: ({ sessionId }, reason) => void told.push({ sessionId, what: 'ended', reason }),
      videoSize: ({ sessionId }, width, height) => void told.push({ sessionId, what: 'video-size', width, height }),
      stats: ({ sessionId }) => void told.push({ sessionId, what: 'stats' }),
      signal: ({ sessionId }) => void told.push({ sessionId, what: 'signal' }),
      notEnoughBandwidth: ({ sessionId }) => void told.push({ sessionId, what: 'bandwidth' }),
      offer: ({ sessionId }, sdp) => void told.push({ sessionId, what: 'offer', sdp }),
      notCarried: ({ sessionId }, detail) => void told.push({ sessionId, what: 'not-carried', detail }),
    };
    this.core = new MediaCore({
      nodeId: 'node-1',
      workers,
      registry: new StreamRegistry(redis, 'host:1'),
      reservedNames: new ReservedNames({ redis, log: createLogger('media', 'node-1', 'silent') }),
      notifier: this.notifier,
      surroundings: {
        streamStarted: ({ streamName }) => void streamEvents.push({ name: streamName, what: 'started' }),
        streamEnded: ({ streamName }, reason) => void streamEvents.push({ name: streamName, what: 'ended', reason }),
        viewersChanged: () => undefined,
        isNodeGone: (nodeId) => this.goneNodes.has(nodeId),
        watchOwner: () => undefined,
        yieldName: async () => undefined,
      },
      log: createLogger('media', 'node-1', 'silent'),
      maxSessions: 8,
      ffmpegBin: 'ffmpeg',
      maxTranscodes: 16,
      ...overrides,
    });
    this.webRtc = new WebRtc({
      nodeId: 'node-1',
      core: this.core,
      notifier: this.notifier,
      connectTimeoutMs: 60_000,
      consentTimeoutMs: 30_000,
      noMediaTimeoutMs: 15_000,
      maxBitrateBps: 5_000_000,
      log: createLogger('media', 'node-1', 'silent'),
      ...overrides,
    });
  }

  static async start(
    redis: Redis,
    overrides: Overrides = {},
    { addresses = mediaAddresses('127.0.0.1', ['127.0.0.1'], []), firstPort = 0 }: MediaSockets = {},
  ): Promise<RecordedCore> {
    await redis.flushall();
    const workers = await WorkerPool.start({
      workerCount: 2,
      firstPort,
      addresses,
      log: createLogger('media', 'node-1', 'silent'),
    });
    return new RecordedCore(workers, redis, overrides);
  }

  has(sessionId: string, what: Told['what']): boolean {
    return this.find(sessionId, what) !== undefined;
  }

  find(sessionId: string, what: Told['what']): Told | undefined {
    return this.told.find((each) => each.sessionId === sessionId && each.what === what);
  }

  close(): void {
    this.core.close();
  }
}
