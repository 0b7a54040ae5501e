import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import type { KnownFrame, KnownTrack } from './known-media.js';

/** A way into the platform. */
export interface Connection {
  /**
   * @param track its place among the source's tracks
   * @param capturedMs when the frame was due, by `wallMs`
   */
  send(track: number, frame: KnownFrame, rtpTimestamp: number, capturedMs: number): void;
  readonly isLost: boolean;
  close(): void;
}

const RECONNECT_MS = 200;
const MAX_WAIT_MS = 50;
/** Frames that are later than this are skipped, as by a camera that had to wait for its network. */
const MAX_LATE_MS = 500;

export const wallMs = (): number => performance.timeOrigin + performance.now();

/**
 * A live source: its frames are due at fixed times, whether it is connected or not. It connects again when its
 * connection is lost, and then begins with the next key frame.
 */
export class KnownSource {
  /** When each frame was sent, by its number since the beginning; undefined if there was no connection. */
  readonly sentMs: (readonly (number | undefined)[])[];
  readonly #sentMs: (number | undefined)[][];
  readonly #beganMs = wallMs();
  readonly #next: number[];
  #connection: Connection | undefined;
  #isWaitingForKeyFrame = true;
  #connections = 0;
  #isClosed = false;
  readonly #done: Promise<unknown>;

  constructor(
    /** A video first. */
    readonly tracks: readonly KnownTrack[],
    private readonly connect: () => Promise<Connection>,
    private readonly options: { readonly reconnects: boolean },
  ) {
    this.#sentMs = tracks.map(() => []);
    this.sentMs = this.#sentMs;
    this.#next = tracks.map(() => 0);
    this.#done = Promise.all([this.#stayConnected(), this.#sendAll()]);
  }

  /** How often it has been connected. */
  get connections(): number {
    return this.#connections;
  }

  get isConnected(): boolean {
    return this.#connection !== undefined;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#done;
    this.#connection?.close();
    this.#connection = undefined;
  }

  async #stayConnected(): Promise<void> {
    while (!this.#isClosed) {
      if (this.#connection?.isLost === true) {
        this.#connection.close();
        this.#connection = undefined;
      }
      if (this.#connection === undefined && (this.options.reconnects || this.#connections === 0)) {
        // The platform is down; the next try follows.
        const connection = await this.connect().catch(() => undefined);
        if (connection !== undefined) {
          this.#connections += 1;
          this.#isWaitingForKeyFrame = true;
          this.#connection = connection;
        }
      }
      await sleep(RECONNECT_MS);
    }
  }

  async #sendAll(): Promise<void> {
    while (!this.#isClosed) {
      const nowMs = wallMs();
      for (const [track, { frames, frameMs, ticksPerFrame }] of this.tracks.entries()) {
        for (; this.#dueMs(track) <= nowMs; this.#next[track]! += 1) {
          const index = this.#next[track]!;
          const frame = frames[index % frames.length]!;
          const capturedMs = this.#dueMs(track);
          const isLate = nowMs - capturedMs > MAX_LATE_MS + frameMs;
          const isSent = this.#send(track, frame, index * ticksPerFrame, capturedMs, isLate);
          this.#sentMs[track]![index] = isSent ? wallMs() : undefined;
        }
      }
      const dueMs = Math.min(...this.tracks.map((_, track) => this.#dueMs(track)));
      await sleep(Math.min(MAX_WAIT_MS, Math.max(1, dueMs - wallMs())));
    }
  }

  #dueMs(track: number): number {
    return this.#beganMs + this.#next[track]! * this.tracks[track]!.frameMs;
  }

  #send(track: number, frame: KnownFrame, rtpTimestamp: number, capturedMs: number, isLate: boolean): boolean {
    if (this.#connection === undefined || this.#connection.isLost) return false;
    if (track === 0) {
      if (isLate) this.#isWaitingForKeyFrame = true;
      if (frame.isKeyFrame && !isLate) this.#isWaitingForKeyFrame = false;
    }
    if (this.#isWaitingForKeyFrame || isLate) return false;
    this.#connection.send(track, frame, rtpTimestamp, capturedMs);
    return true;
  }
}
