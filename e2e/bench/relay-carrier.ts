import type { CpuClocks } from './process-usage.js';
import type { StreamFeed } from './relay-stream.js';

/** Receives streams by RTP, carries them over hops, and sends them by RTP from any point of the way. */
export interface Carrier {
  readonly name: string;
  open(streamCount: number): Promise<Chain>;
}

/** The streams of one carrier, and how many hops each has been carried. */
export interface Chain {
  /** The addresses to which each stream must be sent. */
  readonly feeds: readonly StreamFeed[];
  /** `relay-push`, `media workers`, `media (Node)` and `others`. */
  readonly clocks: CpuClocks;
  /** Carries the first `count` streams one hop further; resolves when media flows. */
  carry(count: number): Promise<void>;
  /** Sends stream `index` to an address, as it is after `hops` hops. */
  tap(index: number, hops: number, to: { ip: string; port: number }): Promise<void>;
  close(): Promise<void>;
}
