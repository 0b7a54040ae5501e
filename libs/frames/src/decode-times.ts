/**
 * Assigns decoding times to frames that arrive in decoding order with presentation times only, as they do in RTP. With
 * N frames of reordering, the decoding time of a frame is the presentation time that is output N frames earlier.
 * Decoding times therefore always rise and are never later than the presentation time. If N isn't known (no VUI in the
 * SPS), it starts at 0 and grows whenever a frame goes back in time.
 */
export class DecodeTimes {
  #reorderFrames: number;
  /** The presentation times that aren't yet used as decoding times, in rising order. */
  #waiting: number[] = [];
  #last: number | undefined;
  #frameTicks: number;

  /** `frameTicks` is a first guess of the duration of a frame; the stream's own duration replaces it. */
  constructor(options: { reorderFrames: number; frameTicks: number }) {
    this.#reorderFrames = options.reorderFrames;
    this.#frameTicks = options.frameTicks;
  }

  push(pts: number): number {
    if (this.#last === undefined) {
      // Leaves room below the first frame for frames that are decoded with it but presented later.
      for (let i = this.#reorderFrames; i > 0; i--) this.#waiting.push(pts - i * this.#frameTicks);
    }
    let index = this.#waiting.length;
    while (index > 0 && this.#waiting[index - 1]! > pts) index--;
    if (this.#last !== undefined && pts <= this.#last && this.#reorderFrames < 16) this.#reorderFrames++;
    this.#waiting.splice(index, 0, pts);
    const candidate = this.#waiting.length > this.#reorderFrames ? this.#waiting.shift()! : this.#last! + 1;
    const dts = this.#last === undefined ? candidate : Math.max(candidate, this.#last + 1);
    this.#last = dts;
    return dts;
  }
}
