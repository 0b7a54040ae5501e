import { ErrorCode, WeirError, type StreamInfo } from '@weir/contracts';
import type { ResourceName } from '@weir/hls';
import type { Logger } from '@weir/platform';
import type { Load } from './metrics.js';
import type { EndCause, Packaging } from './packaging.js';
import type { VideoTarget } from './video-path.js';

type QueryOf = (resource: ResourceName) => string;

export interface PackagingsOptions {
  make: (tenant: string, streamName: string, queryOf: QueryOf) => Promise<Packaging>;
  log: Logger;
  maxStreams: number;
  maxBytes: number;
  lingerMs: number;
}

const TICK_MS = 100;

const keyOf = (tenant: string, rest: string): string => JSON.stringify([tenant, rest]);
const targetKey = (tenant: string, target: VideoTarget): string => keyOf(tenant, JSON.stringify(target));

/** All streams that this instance packages, or packaged until a moment ago. */
export class Packagings {
  readonly #byStream = new Map<string, Packaging>();
  readonly #byTarget = new Map<string, Packaging>();
  readonly #opening = new Map<string, Promise<Packaging>>();
  readonly #timer: NodeJS.Timeout;
  #closed = false;

  constructor(private readonly options: PackagingsOptions) {
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  /** The packaging that was opened for a target, if it isn't forgotten. It may have ended. */
  at(tenant: string, target: VideoTarget): Packaging | undefined {
    return this.#byTarget.get(targetKey(tenant, target));
  }

  find(tenant: string, streamName: string): Packaging | undefined {
    return this.#byStream.get(keyOf(tenant, streamName));
  }

  list(tenant: string): Packaging[] {
    return [...this.#byStream.values()].filter((packaging) => packaging.tenant === tenant);
  }

  /** Returns the stream's packaging, or begins it. Throws UNAVAILABLE and the errors of `Packaging.open`. */
  async open(tenant: string, target: VideoTarget, streamName: string, queryOf: QueryOf): Promise<Packaging> {
    const key = keyOf(tenant, streamName);
    const known = this.#byStream.get(key);
    if (known !== undefined && known.state !== 'ended') return this.#remember(target, known);
    const opening = this.#opening.get(key) ?? this.#begin(key, tenant, streamName, queryOf);
    this.#opening.set(key, opening);
    try {
      return this.#remember(target, await opening);
    } finally {
      if (this.#opening.get(key) === opening) this.#opening.delete(key);
    }
  }

  end(packaging: Packaging, cause: EndCause): void {
    packaging.end(cause);
  }

  streamStarted(stream: StreamInfo): void {
    this.find(stream.tenant, stream.streamName)?.streamStarted(stream);
  }

  streamEnded(stream: StreamInfo): void {
    this.find(stream.tenant, stream.streamName)?.streamEnded(stream);
  }

  get load(): Omit<Load, 'transcodes'> {
    const streams = { waiting: 0, flowing: 0, away: 0, ended: 0 };
    let [viewers, bytes, waiting] = [0, 0, 0];
    for (const packaging of this.#byStream.values()) {
      streams[packaging.state] += 1;
      viewers += packaging.viewers.count;
      bytes += packaging.live.bytes;
      waiting += packaging.live.waiting;
    }
    return { streams, viewers, bytes, waiting };
  }

  /** Ends all waiting. Players then ask another instance, or the next one at this address. */
  drain(): void {
    this.#closed = true;
    for (const packaging of this.#byStream.values()) packaging.live.stopWaiting();
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    for (const packaging of this.#byStream.values()) packaging.abandon();
    this.#byStream.clear();
    this.#byTarget.clear();
  }

  async #begin(key: string, tenant: string, streamName: string, queryOf: QueryOf): Promise<Packaging> {
    this.#assertRoom();
    const packaging = await this.options.make(tenant, streamName, queryOf);
    try {
      await packaging.open();
      this.#assertRoom();
    } catch (error) {
      packaging.abandon();
      throw error;
    }
    const earlier = this.#byStream.get(key);
    if (earlier !== undefined) this.#forget(earlier);
    this.#byStream.set(key, packaging);
    return packaging;
  }

  #remember(target: VideoTarget, packaging: Packaging): Packaging {
    this.#byTarget.set(targetKey(packaging.tenant, target), packaging);
    return packaging;
  }

  #assertRoom(): void {
    const running = [...this.#byStream.values()].filter(({ state }) => state !== 'ended').length;
    if (this.#closed || running >= this.options.maxStreams) {
      throw new WeirError(ErrorCode.UNAVAILABLE, 'No more streams can be packaged now; try again later');
    }
  }

  #tick(): void {
    for (const packaging of [...this.#byStream.values()]) {
      try {
        packaging.tick();
      } catch (error) {
        this.options.log.error({ err: error, streamName: packaging.streamName }, 'packaging failed');
        packaging.end('source-fails');
      }
      const { endedForMs, endCause } = packaging;
      if (endedForMs !== undefined && (endCause === 'idle' || endedForMs >= this.options.lingerMs)) {
        this.#forget(packaging);
      }
    }
    this.#keepWithinMemory();
  }

  #keepWithinMemory(): void {
    const all = [...this.#byStream.values()];
    let bytes = all.reduce((sum, packaging) => sum + packaging.live.bytes, 0);
    if (bytes <= this.options.maxBytes) return;
    // Ended streams go first, then those that nobody has asked for the longest.
    const order = all.sort(
      (a, b) => Number(b.state === 'ended') - Number(a.state === 'ended') || a.lastAskedMs - b.lastAskedMs,
    );
    for (const packaging of order) {
      if (bytes <= this.options.maxBytes) return;
      bytes -= packaging.live.bytes;
      packaging.end('no-memory');
      this.#forget(packaging);
    }
  }

  #forget(packaging: Packaging): void {
    for (const [key, other] of this.#byTarget) if (other === packaging) this.#byTarget.delete(key);
    for (const [key, other] of this.#byStream) if (other === packaging) this.#byStream.delete(key);
    packaging.live.forget();
  }
}
