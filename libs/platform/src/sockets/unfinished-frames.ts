import type { Duplex } from 'node:stream';
import { ByteBudget } from '../byte-budget.js';
import { FrameProgress } from './frame-progress.js';

export interface UnfinishedFramesOptions {
  /** The longest time from a message's first byte to its last. */
  timeoutMs: number;
  /** Limits of the memory for the unfinished messages of one address, and of all addresses together. */
  perAddressBytes: number;
  totalBytes: number;
}

/** The close code and reason for a socket that doesn't finish its messages (RFC 6455, 7.4.1). */
export interface CutOff {
  readonly code: 1008 | 1013;
  readonly reason: string;
}

const TOO_SLOW: CutOff = { code: 1008, reason: 'A frame was not finished in time' };
const TOO_MUCH: CutOff = { code: 1013, reason: 'Too many unfinished frames from this address' };

interface WatchedSocket {
  readonly cutOff: (how: CutOff) => void;
  /** The time at which the unfinished message began; undefined between two messages. */
  sinceMs: number | undefined;
}

/** Memory that each chunk of a message takes besides its bytes, so that many small chunks count too. */
const PIECE_BYTES = 256;
const MAX_SWEEP_INTERVAL_MS = 1_000;

/**
 * Limits what WebSocket clients can make a service hold with messages that they don't finish: the memory for each
 * address and in total, and the time that each message may take.
 */
export class UnfinishedFrames {
  readonly #budget: ByteBudget;
  readonly #watched = new Set<WatchedSocket>();
  readonly #timer: NodeJS.Timeout;

  constructor(private readonly options: UnfinishedFramesOptions) {
    this.#budget = new ByteBudget(options);
    this.#timer = setInterval(() => this.#sweep(), Math.min(MAX_SWEEP_INTERVAL_MS, options.timeoutMs / 4));
    this.#timer.unref();
  }

  get heldBytes(): number {
    return this.#budget.heldBytes;
  }

  /** Call this before the socket is read. `cutOff` is called at most once; it must close the socket. */
  watch(socket: Duplex, address: string, cutOff: (how: CutOff) => void): void {
    const progress = new FrameProgress();
    let heldBytes = 0;
    const end = () => {
      this.#budget.release(address, heldBytes);
      heldBytes = 0;
      this.#watched.delete(entry);
      socket.off('data', onData).off('close', end);
    };
    const entry: WatchedSocket = {
      sinceMs: undefined,
      cutOff: (how) => {
        end();
        cutOff(how);
      },
    };
    const onData = (chunk: Buffer) => {
      if (progress.push(chunk)) {
        this.#budget.release(address, heldBytes);
        heldBytes = 0;
        entry.sinceMs = undefined;
      }
      if (progress.unfinishedBytes === 0) return;
      entry.sinceMs ??= performance.now();
      const bytes = Math.min(chunk.length, progress.unfinishedBytes) + PIECE_BYTES;
      if (this.#budget.take(address, bytes) === undefined) heldBytes += bytes;
      else entry.cutOff(TOO_MUCH);
    };
    this.#watched.add(entry);
    socket.on('data', onData).on('close', end);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #sweep(): void {
    const latestMs = performance.now() - this.options.timeoutMs;
    for (const entry of this.#watched)
      if (entry.sinceMs !== undefined && entry.sinceMs < latestMs) entry.cutOff(TOO_SLOW);
  }
}
