import type { VideoCodecName } from './negotiation.js';

export interface VideoSample {
  fps: number;
  bps: number;
}

/** Watches one video stream's RTP packets. The time is an input: milliseconds of any monotonic clock. */
export class VideoMeter {
  frames = 0;
  keyFrames = 0;
  /** 0 until a key frame has told. */
  width = 0;
  height = 0;

  constructor(readonly codec: VideoCodecName) {}

  /** Returns true when the packet changed `width` or `height`. Garbage is ignored. */
  feed(_rtpPacket: Uint8Array, _nowMs: number): boolean {
    return false;
  }

  /** Rates since the last sample, or since the first packet. */
  sample(_nowMs: number): VideoSample {
    return { fps: 0, bps: 0 };
  }
}
