import type { VideoFrame } from '@weir/frames';

export interface GopCacheLimits {
  frames: number;
  bytes: number;
}

/** The frames since the last key frame, for viewers that can't wait for the next. A GOP over the limits isn't kept. */
export class GopCache {
  #gop: VideoFrame[] = [];
  #bytes = 0;
  #overflowed = true;

  constructor(private readonly limits: GopCacheLimits) {}

  add(frame: VideoFrame): void {
    if (frame.isKeyFrame && frame.complete) {
      this.#gop = [];
      this.#bytes = 0;
      this.#overflowed = false;
    }
    if (this.#overflowed) return;
    this.#bytes += sizeOf(frame);
    if (!frame.complete || this.#gop.length >= this.limits.frames || this.#bytes > this.limits.bytes) {
      this.#gop = [];
      this.#overflowed = true;
      return;
    }
    this.#gop.push(frame);
  }

  /** Empty when a viewer must wait for the next key frame. */
  get frames(): readonly VideoFrame[] {
    return this.#gop;
  }

  clear(): void {
    this.#gop = [];
    this.#overflowed = true;
  }
}

const sizeOf = (frame: VideoFrame): number =>
  'nalUnits' in frame ? frame.nalUnits.reduce((sum, unit) => sum + unit.length, 0) : frame.data.length;
