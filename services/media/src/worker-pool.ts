import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '@weir/platform';
import { createWorker, types as mediasoup } from 'mediasoup';
import { announcedCandidates, type MediaAddresses } from './media-addresses.js';
import { sharedIn, type Shared } from './shared-value.js';

export interface WorkerPoolOptions {
  workerCount: number;
  /** Worker i listens on this port plus i, with UDP and TCP. */
  firstPort: number;
  addresses: MediaAddresses;
  log: Logger;
}

/** A router with the payload types of one dialect. It lives until all its leases are released. */
export interface RouterLease {
  readonly worker: MediaWorker;
  readonly router: mediasoup.Router;
  readonly codecs: readonly mediasoup.RouterRtpCodecCapability[];
  /** From now on the router has these codecs. They contain those that it had, with the same payload types. */
  extend(codecs: readonly mediasoup.RouterRtpCodecCapability[]): void;
  /** Another lease of the same router. */
  share(): RouterLease;
  release(): void;
}

const REPLACE_RETRY_MS = 200;
/**
 * The kernel's buffers for a port that receives media. A worker has one port for all its publishers, and all packets of
 * a picture come at once: a few simultaneous key frames overflow Linux's default of 208 KiB. The kernel grants at most
 * net.core.rmem_max and wmem_max.
 */
export const MEDIA_SOCKET_BUFFERS = { recvBufferSize: 4 * 1024 * 1024, sendBufferSize: 4 * 1024 * 1024 } as const;

/** One mediasoup worker: a process that forwards media on one core, behind one UDP and one TCP port. */
export class MediaWorker {
  readonly #routers = new Map<string, Shared<mediasoup.Router>>();
  readonly #codecs = new WeakMap<mediasoup.Router, readonly mediasoup.RouterRtpCodecCapability[]>();
  /** The number of WebRTC transports on this worker. */
  transportCount = 0;

  constructor(
    readonly index: number,
    readonly worker: mediasoup.Worker,
    readonly webRtcServer: mediasoup.WebRtcServer,
    private readonly addresses: MediaAddresses,
  ) {}

  /** The candidates with which a client reaches a transport on this worker. */
  candidatesOf(transport: mediasoup.WebRtcTransport): mediasoup.IceCandidate[] {
    return announcedCandidates(this.addresses, transport.iceCandidates);
  }

  /**
   * A router with the payload types of `codecs`. mediasoup sends with the router's payload types and never rewrites
   * them for a receiver, so clients that number their codecs differently need routers of their own.
   * @param dialect equal for equal `codecs`
   */
  async leaseRouter(dialect: string, codecs: readonly mediasoup.RouterRtpCodecCapability[]): Promise<RouterLease> {
    const shared = sharedIn(
      this.#routers,
      dialect,
      async () => {
        const router = await this.worker.createRouter({ mediaCodecs: [...codecs] });
        this.#codecs.set(router, codecs);
        return router;
      },
      (router) => router.close(),
    );
    const { value, release } = await shared.use();
    return this.#lease(shared, value, release);
  }

  #lease(shared: Shared<mediasoup.Router>, router: mediasoup.Router, release: () => void): RouterLease {
    const codecs = this.#codecs;
    return {
      worker: this,
      router,
      get codecs() {
        return codecs.get(router) ?? [];
      },
      extend: (extended) => {
        router.updateMediaCodecs([...extended]);
        codecs.set(router, extended);
      },
      share: () => this.#lease(shared, router, shared.hold()),
      release,
    };
  }

  get routerCount(): number {
    return this.#routers.size;
  }
}

/** The node's workers. A worker that dies is replaced. Everything on it is lost, and `onDied` listeners are called. */
export class WorkerPool {
  readonly #workers: (MediaWorker | undefined)[] = [];
  readonly #deathListeners: ((worker: MediaWorker) => void)[] = [];
  #closed = false;

  private constructor(private readonly options: WorkerPoolOptions) {}

  static async start(options: WorkerPoolOptions): Promise<WorkerPool> {
    const pool = new WorkerPool(options);
    const indexes = Array.from({ length: options.workerCount }, (_unused, index) => index);
    try {
      await Promise.all(indexes.map((index) => pool.#startWorker(index)));
    } catch (error) {
      pool.close();
      throw error;
    }
    return pool;
  }

  onDied(listener: (worker: MediaWorker) => void): void {
    this.#deathListeners.push(listener);
  }

  /** All live workers. */
  list(): MediaWorker[] {
    return this.#workers.filter((worker) => worker !== undefined);
  }

  get complete(): boolean {
    return this.list().length === this.options.workerCount;
  }

  /**
   * The worker with the fewest transports, or `preferred` while that one doesn't have many more: a stream that stays on
   * one worker needs no pipe.
   */
  pick(preferred?: MediaWorker): MediaWorker | undefined {
    const living = this.list();
    const idlest = living.reduce<MediaWorker | undefined>(
      (best, worker) => (best === undefined || worker.transportCount < best.transportCount ? worker : best),
      undefined,
    );
    if (preferred === undefined || idlest === undefined || !living.includes(preferred)) return idlest;
    return preferred.transportCount <= idlest.transportCount + PIPE_WORTH_TRANSPORTS ? preferred : idlest;
  }

  close(): void {
    this.#closed = true;
    for (const worker of this.list()) worker.worker.close();
    this.#workers.length = 0;
  }

  async #startWorker(index: number): Promise<void> {
    const { firstPort, addresses, log } = this.options;
    const worker = await createWorker({ logLevel: 'warn' });
    const port = firstPort === 0 ? 0 : firstPort + index;
    try {
      const webRtcServer = await worker.createWebRtcServer({
        listenInfos: addresses.listeners.map(({ protocol, ip, shared }) => ({
          protocol,
          ip,
          port,
          flags: { ipv6Only: true, udpReusePort: shared },
          ...(protocol === 'udp' ? MEDIA_SOCKET_BUFFERS : {}),
        })),
      });
      if (this.#closed) {
        worker.close();
        return;
      }
      const mediaWorker = new MediaWorker(index, worker, webRtcServer, addresses);
      this.#workers[index] = mediaWorker;
      worker.on('died', (error) => {
        log.error({ error: error.message, worker: index, pid: worker.pid }, 'media worker died');
        this.#workers[index] = undefined;
        for (const listener of this.#deathListeners) listener(mediaWorker);
        void this.#replaceWorker(index);
      });
    } catch (error) {
      worker.close();
      const hosts = [...new Set(addresses.listeners.map(({ ip }) => ip))].join(', ');
      throw new Error(
        `media worker ${index} can't listen on port ${port} (UDP and TCP) of ${hosts}; is it taken? See WEIR_MEDIA_PORT`,
        { cause: error },
      );
    }
  }

  async #replaceWorker(index: number): Promise<void> {
    while (!this.#closed) {
      try {
        await this.#startWorker(index);
        this.options.log.info({ worker: index }, 'media worker replaced');
        return;
      } catch (error) {
        this.options.log.error({ err: error, worker: index }, 'media worker could not be replaced, trying again');
        await sleep(REPLACE_RETRY_MS);
      }
    }
  }
}

/** A pipe to another worker is worth its cost when that worker has fewer transports by more than this number. */
const PIPE_WORTH_TRANSPORTS = 25;
