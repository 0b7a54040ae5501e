import { readAv1 } from './av1.js';
import { readH264 } from './h264.js';
import { readH265 } from './h265.js';
import { readJpeg } from './jpeg.js';
import { parseRtp } from './rtp-packet.js';
import type { FrameHint } from './video-frame.js';
import { readVp8 } from './vp8.js';
import { readVp9 } from './vp9.js';

export interface VideoSample {
  fps: number;
  /** Of whole RTP packets. */
  bps: number;
}

type Reader = (payload: Uint8Array) => FrameHint;

const READERS: Readonly<Record<string, Reader>> = {
  H264: readH264,
  H265: readH265,
  JPEG: readJpeg,
  VP8: readVp8,
  VP9: readVp9,
  AV1: readAv1,
};

const readNothing: Reader = () => ({ isKeyFrame: false });

/** Timestamps of frames that packets may still belong to when they come late or out of order. */
const REMEMBERED_FRAMES = 16;

/** Watches one video stream's RTP packets. The time is an input: milliseconds of any monotonic clock. */
export class VideoMeter {
  /** Since the start. A frame is one RTP timestamp. */
  frames = 0;
  keyFrames = 0;
  /** 0 until a key frame has told. */
  width = 0;
  height = 0;

  /** The latest frames, oldest first: whether each is known to be a key frame. */
  private readonly recent = new Map<number, boolean>();
  private framesSinceSample = 0;
  private bytesSinceSample = 0;
  private sampledAtMs: number | undefined;

  private readonly read: Reader;

  /** @param codec by its name in SDP. Of one that isn't known only the frames are counted. */
  constructor(codec: string) {
    this.read = READERS[codec] ?? readNothing;
  }

  /** Returns true when the packet changed `width` or `height`. Garbage is ignored. */
  feed(rtpPacket: Uint8Array, nowMs: number): boolean {
    const packet = parseRtp(rtpPacket);
    if (!packet) return false;
    this.sampledAtMs ??= nowMs;
    this.bytesSinceSample += rtpPacket.length;
    // Padding that a sender probes the bandwidth with.
    if (packet.payload.length === 0) return false;
    const hint = this.read(packet.payload);
    this.countFrame(packet.timestamp, hint.isKeyFrame);
    if (!hint.dimensions) return false;
    const { width, height } = hint.dimensions;
    const isChanged = width !== this.width || height !== this.height;
    this.width = width;
    this.height = height;
    return isChanged;
  }

  private countFrame(timestamp: number, isKeyFrame: boolean): void {
    const known = this.recent.get(timestamp);
    if (known === undefined) {
      this.frames++;
      this.framesSinceSample++;
      if (this.recent.size === REMEMBERED_FRAMES) {
        for (const oldest of this.recent.keys()) {
          this.recent.delete(oldest);
          break;
        }
      }
    }
    if (isKeyFrame && known !== true) this.keyFrames++;
    this.recent.set(timestamp, isKeyFrame || known === true);
  }

  /** Rates since the last sample, or since the first packet. */
  sample(nowMs: number): VideoSample {
    const elapsedMs = nowMs - (this.sampledAtMs ?? nowMs);
    if (elapsedMs <= 0) return { fps: 0, bps: 0 };
    const sample = {
      fps: (this.framesSinceSample * 1000) / elapsedMs,
      bps: (this.bytesSinceSample * 8 * 1000) / elapsedMs,
    };
    this.framesSinceSample = 0;
    this.bytesSinceSample = 0;
    this.sampledAtMs = nowMs;
    return sample;
  }
}
