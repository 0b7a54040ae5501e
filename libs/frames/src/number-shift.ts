import type { RtpNumbers } from './rtp-packet.js';

type Numbers = Pick<RtpNumbers, 'sequenceNumber' | 'timestamp'>;

/** Where the numbering of a track stands. */
export interface LastNumbers extends Numbers {
  readonly atMs: number;
}

/**
 * What is added to the numbers of a source so that they continue those of the source before it. The timestamps advance
 * by the time that has passed between the two.
 */
export class NumberShift {
  readonly #ticksPerMs: number;
  #sequence = 0;
  #timestamp = 0;

  constructor(clockRate: number) {
    this.#ticksPerMs = clockRate / 1_000;
  }

  get isZero(): boolean {
    return this.#sequence === 0 && this.#timestamp === 0;
  }

  /** @param sequenceStep from the last packet of the old source to the first one of the new source */
  follow(last: LastNumbers, first: Numbers, nowMs: number, sequenceStep = 1): void {
    const elapsedTicks = Math.round((nowMs - last.atMs) * this.#ticksPerMs);
    this.#sequence = (last.sequenceNumber + sequenceStep - first.sequenceNumber) & 0xffff;
    this.#timestamp = (last.timestamp + elapsedTicks - first.timestamp) >>> 0;
  }

  sequenceNumber(ofSource: number): number {
    return (ofSource + this.#sequence) & 0xffff;
  }

  timestamp(ofSource: number): number {
    return (ofSource + this.#timestamp) >>> 0;
  }

  /** The source's timestamp of a shifted one. */
  sourceTimestamp(shifted: number): number {
    return (shifted - this.#timestamp) >>> 0;
  }
}
