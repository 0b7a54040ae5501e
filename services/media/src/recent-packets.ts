import { timestampOf } from '@weir/frames';

interface Kept {
  readonly packet: Uint8Array;
  readonly atMs: number;
}

export interface RecentPacketsLimits {
  /** Older packets aren't kept. */
  ageMs: number;
  bytes: number;
}

/** A track's packets since the stream's last key frame, unchanged, for receivers that begin with that key frame. */
export class RecentPackets {
  #kept: Kept[] = [];
  #bytes = 0;
  /** Whether the first packet belongs to a key frame, or came together with one of another track. */
  #isBegun = false;

  constructor(private readonly limits: RecentPacketsLimits) {}

  add(packet: Uint8Array, atMs: number): void {
    this.#kept.push({ packet, atMs });
    this.#bytes += packet.length;
    // Without their beginning the other packets are useless. But a key frame that is still arriving may be among them.
    while (this.#bytes > this.limits.bytes || atMs - (this.#kept[0]?.atMs ?? atMs) > this.limits.ageMs) {
      this.#isBegun = false;
      this.#dropFirst(Math.ceil(this.#kept.length / 2));
    }
  }

  /**
   * Keeps only the packets from a key frame on.
   * @param rtpTimestamp the key frame's, 32 bits
   * @returns when its first packet came, if it is still kept
   */
  beginWithFrame(rtpTimestamp: number): number | undefined {
    const first = this.#kept.findIndex(({ packet }) => timestampOf(packet) === rtpTimestamp);
    this.#isBegun = first !== -1;
    this.#dropFirst(first === -1 ? this.#kept.length : first);
    return this.#kept[0]?.atMs;
  }

  /** Keeps only the packets since `atMs`, when a key frame of another track of the stream came. */
  beginAt(atMs: number): void {
    const first = this.#kept.findIndex((kept) => kept.atMs >= atMs);
    this.#isBegun = true;
    this.#dropFirst(first === -1 ? this.#kept.length : first);
  }

  get packets(): Uint8Array[] {
    return this.#isBegun ? this.#kept.map(({ packet }) => packet) : [];
  }

  clear(): void {
    this.#isBegun = false;
    this.#dropFirst(this.#kept.length);
  }

  #dropFirst(count: number): void {
    for (const { packet } of this.#kept.splice(0, count)) this.#bytes -= packet.length;
  }
}
