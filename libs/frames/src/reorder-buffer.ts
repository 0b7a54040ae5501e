import type { RtpPacket } from './rtp-packet.js';

export interface ReorderLimits {
  /** How many packets are held back at most while one is missing. */
  maxPackets: number;
  /** The missing packets are given up when the RTP timestamps of the held packets span more than this, in ticks. */
  maxTicks: number;
}

/** `restarted` means that the sender's numbering starts again, so nothing links this packet to earlier ones. */
export interface OrderedPacket {
  packet: RtpPacket;
  lostBefore: boolean;
  restarted: boolean;
}

/** RFC 3550 A.1: a sequence number further behind than this isn't a late packet; the sender has restarted. */
const MAX_MISORDER = 1_000;
const MAX_DROPOUT = 3_000;

/**
 * Puts the packets of one SSRC in the order of their sequence numbers and drops duplicates. It measures time by the
 * packets' own timestamps, so a gap in a slow stream is given up after the same media time as in a fast one.
 */
export class ReorderBuffer {
  readonly #limits: ReorderLimits;
  readonly #held = new Map<number, RtpPacket>();
  #next: number | undefined;
  #restartCandidate: RtpPacket | undefined;

  constructor(limits: ReorderLimits) {
    this.#limits = limits;
  }

  push(packet: RtpPacket): OrderedPacket[] {
    const { sequenceNumber } = packet;
    if (this.#next === undefined) {
      this.#next = (sequenceNumber + 1) & 0xffff;
      return [{ packet, lostBefore: false, restarted: false }];
    }
    const ahead = (sequenceNumber - this.#next) & 0xffff;
    if (ahead >= 0x8000 && 0x1_0000 - ahead <= MAX_MISORDER) return [];
    if (ahead > MAX_DROPOUT) return this.#pushFarAway(packet);
    this.#restartCandidate = undefined;
    if (ahead === 0) {
      this.#next = (sequenceNumber + 1) & 0xffff;
      const ordered = [{ packet, lostBefore: false, restarted: false }];
      if (this.#held.size > 0) this.#releaseRun(ordered);
      return ordered;
    }
    this.#held.set(sequenceNumber, packet);
    const ordered: OrderedPacket[] = [];
    while (this.#held.size > 0 && this.#isOverLimit()) this.#skipGap(ordered);
    return ordered;
  }

  /** Gives up the missing packets and returns everything held. */
  flush(): OrderedPacket[] {
    const ordered: OrderedPacket[] = [];
    while (this.#held.size > 0) this.#skipGap(ordered);
    return ordered;
  }

  reset(): void {
    this.#held.clear();
    this.#next = undefined;
    this.#restartCandidate = undefined;
  }

  /** One such packet may be a stray; two consecutive ones mean that the numbering has restarted. */
  #pushFarAway(packet: RtpPacket): OrderedPacket[] {
    const first = this.#restartCandidate;
    if (first === undefined || packet.sequenceNumber !== ((first.sequenceNumber + 1) & 0xffff)) {
      this.#restartCandidate = packet;
      return [];
    }
    const ordered = this.flush();
    this.reset();
    this.#next = (packet.sequenceNumber + 1) & 0xffff;
    ordered.push({ packet: first, lostBefore: true, restarted: true });
    ordered.push({ packet, lostBefore: false, restarted: false });
    return ordered;
  }

  #isOverLimit(): boolean {
    if (this.#held.size > this.#limits.maxPackets) return true;
    let first: number | undefined;
    let lowest = 0;
    let highest = 0;
    for (const { timestamp } of this.#held.values()) {
      first ??= timestamp;
      const distance = (timestamp - first) | 0;
      lowest = Math.min(lowest, distance);
      highest = Math.max(highest, distance);
    }
    return highest - lowest > this.#limits.maxTicks;
  }

  #skipGap(ordered: OrderedPacket[]): void {
    let nearest = 0x1_0000;
    for (const sequenceNumber of this.#held.keys())
      nearest = Math.min(nearest, (sequenceNumber - this.#next!) & 0xffff);
    this.#next = (this.#next! + nearest) & 0xffff;
    const first = ordered.length;
    this.#releaseRun(ordered);
    ordered[first]!.lostBefore = true;
  }

  #releaseRun(ordered: OrderedPacket[]): void {
    for (;;) {
      const packet = this.#held.get(this.#next!);
      if (packet === undefined) return;
      this.#held.delete(this.#next!);
      this.#next = (this.#next! + 1) & 0xffff;
      ordered.push({ packet, lostBefore: false, restarted: false });
    }
  }
}
