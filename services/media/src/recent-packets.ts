import { timestampOf } from '@weir/frames';

interface Kept {
  readonly packet: Uint8Array;
  readonly atMs: number;
}

export interface RecentPacketsLimits {
  /** What began earlier isn't kept. */
  ageMs: number;
  bytes: number;
}

/** A track's packets since its stream's last key frame, as they came, for receivers that begin with it. */
export class RecentPackets {
  private kept: Kept[] = [];
  private bytes = 0;
  /** The first one is a key frame's, or came with it. */
  private isBegun = false;

  constructor(private readonly limits: RecentPacketsLimits) {}

  add(packet: Uint8Array, atMs: number): void {
    this.kept.push({ packet, atMs });
    this.bytes += packet.length;
    // Without its beginning the rest is of no use; but a key frame that is still coming in may be among it.
    while (this.bytes > this.limits.bytes || atMs - (this.kept[0]?.atMs ?? atMs) > this.limits.ageMs) {
      this.isBegun = false;
      this.dropFirst(Math.ceil(this.kept.length / 2));
    }
  }

  /** The frame with this timestamp (32 bits) is a key frame. @returns when its first packet came, if it is still there */
  beginWithFrame(rtpTimestamp: number): number | undefined {
    const first = this.kept.findIndex(({ packet }) => timestampOf(packet) === rtpTimestamp);
    this.isBegun = first !== -1;
    this.dropFirst(first === -1 ? this.kept.length : first);
    return this.kept[0]?.atMs;
  }

  /** A key frame of another track of the stream came then. */
  beginAt(atMs: number): void {
    const first = this.kept.findIndex((kept) => kept.atMs >= atMs);
    this.isBegun = true;
    this.dropFirst(first === -1 ? this.kept.length : first);
  }

  get packets(): Uint8Array[] {
    return this.isBegun ? this.kept.map(({ packet }) => packet) : [];
  }

  clear(): void {
    this.isBegun = false;
    this.dropFirst(this.kept.length);
  }

  private dropFirst(count: number): void {
    for (const { packet } of this.kept.splice(0, count)) this.bytes -= packet.length;
  }
}
