/**
 * Gives decoding times to frames that come in decoding order with presentation times only, as RTP has them. With N
 * frames of reordering, the decoding time of a frame is the presentation time that is output N frames earlier: the
 * times stay strictly rising and never later than the presentation time. Where N isn't known (no VUI in the SPS) it
 * starts at 0 and grows when a frame goes back in time.
 */
export class DecodeTimes {
  #reorderFrames: number;
  /** The presentation times not yet used as decoding times, rising. */
  #waiting: number[] = [];
  #last: number | undefined;
  #frameTicks: number;

  /** `frameTicks` is a first guess of a frame's duration; the stream's own replaces it. */
  constructor(options: { reorderFrames: number; frameTicks: number }) {
    this.#reorderFrames = options.reorderFrames;
    this.#frameTicks = options.frameTicks;
  }

  push(pts: number): number {
    if (this.#last === undefined) {
      // Room below the first frame for those that are presented after it but decoded with it.
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
