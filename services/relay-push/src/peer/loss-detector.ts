/** If more packets than this are missing at once, they aren't worth requesting: a key frame is smaller. */
const MAX_MISSING = 300;
const MAX_REQUESTS = 10;
const MIN_PAUSE_MS = 20;
const GIVE_UP_MS = 2_000;
/** A packet that is further behind than this begins a new numbering and isn't late. */
const MAX_LATENESS = 3_000;

export interface Loss {
  /** The sequence numbers to request now, oldest first. */
  readonly wanted: readonly number[];
  /** The number of packets that are given up; if there are any, the picture needs a key frame. */
  readonly abandoned: number;
}

const NOTHING: Loss = { wanted: [], abandoned: 0 };

interface Missing {
  requests: number;
  askedAtMs: number;
  readonly sinceMs: number;
}

/** Knows which packets of one SSRC are missing, and when to request them (again). */
export class LossDetector {
  readonly #missing = new Map<number, Missing>();
  /** The highest sequence number, extended by the number of wraparounds. */
  #highest: number | undefined;
  #first = 0;
  #abandoned = 0;
  #received = 0;
  #reported = { expected: 0, received: 0 };

  /** @returns false for a packet that has come before or isn't needed any more */
  received(sequenceNumber: number, nowMs: number): boolean {
    if (this.#highest === undefined) {
      this.#highest = sequenceNumber;
      this.#first = sequenceNumber;
      this.#received = 1;
      return true;
    }
    const difference = ((sequenceNumber - this.#highest + 0x8000) & 0xffff) - 0x8000;
    if (difference > 0) {
      this.#advance(this.#highest, difference, nowMs);
      return true;
    }
    if (difference < -MAX_LATENESS) {
      this.#restart(sequenceNumber);
      return true;
    }
    if (!this.#missing.delete(this.#highest + difference)) return false;
    this.#received += 1;
    return true;
  }

  /** The packets to request now. Call it after every packet and every few milliseconds. */
  due(nowMs: number, rttMs: number): Loss {
    if (this.isComplete) return NOTHING;
    const pauseMs = Math.max(MIN_PAUSE_MS, rttMs);
    const wanted: number[] = [];
    let abandoned = this.#abandoned;
    this.#abandoned = 0;
    for (const [index, missing] of this.#missing) {
      if (missing.requests >= MAX_REQUESTS || nowMs - missing.sinceMs > GIVE_UP_MS) {
        this.#missing.delete(index);
        abandoned += 1;
      } else if (missing.requests === 0 || nowMs - missing.askedAtMs >= pauseMs) {
        missing.requests += 1;
        missing.askedAtMs = nowMs;
        wanted.push(index & 0xffff);
      }
    }
    return { wanted, abandoned };
  }

  get isComplete(): boolean {
    return this.#missing.size === 0 && this.#abandoned === 0;
  }

  /** The numbers for a receiver report; begins a new interval. */
  report(): { fractionLost: number; packetsLost: number; highestSequenceNumber: number } {
    const highest = this.#highest ?? 0;
    const expected = this.#highest === undefined ? 0 : highest - this.#first + 1;
    const inInterval = expected - this.#reported.expected;
    const lostInInterval = inInterval - (this.#received - this.#reported.received);
    this.#reported = { expected, received: this.#received };
    return {
      fractionLost: inInterval > 0 ? Math.max(0, lostInInterval) / inInterval : 0,
      packetsLost: expected - this.#received,
      highestSequenceNumber: highest >>> 0,
    };
  }

  #advance(highest: number, difference: number, nowMs: number): void {
    this.#highest = highest + difference;
    this.#received += 1;
    if (this.#missing.size + difference - 1 > MAX_MISSING) {
      this.#abandoned += this.#missing.size + difference - 1;
      this.#missing.clear();
      return;
    }
    for (let index = highest + 1; index < highest + difference; index += 1)
      this.#missing.set(index, { requests: 0, askedAtMs: 0, sinceMs: nowMs });
  }

  #restart(sequenceNumber: number): void {
    this.#missing.clear();
    this.#highest = sequenceNumber;
    this.#first = sequenceNumber;
    this.#received = 1;
    this.#reported = { expected: 0, received: 0 };
  }
}
