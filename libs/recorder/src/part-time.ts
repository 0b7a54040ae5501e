/** Clocks of two senders that differ by more than this are two clocks. It is also the latest that media arrive. */
const SAME_CLOCK_MS = 3_000;

interface Captured {
  readonly partMs: number;
  readonly senderMs: number;
}

/** When a part was recorded: by the recorder's clock, and by the sender's, if its reports have told that. */
export class PartTime {
  /** The beginning by the recorder's clock. It is late if the first media arrived late. */
  startedAtMs = 0;
  #first: Captured | undefined;
  #last: Captured | undefined;

  /** What the part shows at this time was captured then. The times are told in their order. */
  captured(captured: Captured): void {
    this.#first ??= captured;
    this.#last = captured;
  }

  /**
   * How long nothing was recorded between this part and the next, in ms: by the sender's clock if both parts know it,
   * because then it doesn't matter how late media arrived.
   */
  missingUntil(next: PartTime, lengthMs: number): number {
    const byArrivalMs = next.startedAtMs - this.startedAtMs - lengthMs;
    const [end, start] = [this.#last, next.#first];
    if (end === undefined || start === undefined) return Math.max(0, byArrivalMs);
    const bySenderMs = start.senderMs - start.partMs - (end.senderMs + lengthMs - end.partMs);
    return Math.max(0, Math.abs(bySenderMs - byArrivalMs) > SAME_CLOCK_MS ? byArrivalMs : bySenderMs);
  }
}
