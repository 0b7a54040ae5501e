import type { CpuClocks } from './process-usage.js';
import type { StreamFeed } from './relay-stream.js';

/** Takes streams in by RTP, carries them over hops, and hands them out by RTP wherever it is asked to. */
export interface Carrier {
  readonly name: string;
  open(streamCount: number): Promise<Chain>;
}

/** Streams of one carrier, and how far each has been carried. */
export interface Chain {
  /** Where each stream is to be sent. */
  readonly feeds: readonly StreamFeed[];
  /** `relay-push`, `media workers`, `media (Node)` and `others`. */
  readonly clocks: CpuClocks;
  /** Carries the first `count` streams one hop further than they have come; resolves when media flow. */
  carry(count: number): Promise<void>;
  /** Sends stream `index` as it is after `hops` hops. */
  tap(index: number, hops: number, to: { ip: string; port: number }): Promise<void>;
  close(): Promise<void>;
}
