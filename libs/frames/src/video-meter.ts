import { readAv1 } from './av1.js';
import { type FrameHint, NO_KEY_FRAME } from './frame-hint.js';
import { readJpeg } from './jpeg.js';
import { readNalHint } from './nal-payload.js';
import type { RtpPacket } from './rtp-packet.js';
import { readVp8 } from './vp8.js';
import { readVp9 } from './vp9.js';

export interface VideoSample {
  fps: number;
  /** Includes RTP headers. */
  bps: number;
}

type Reader = (packet: RtpPacket) => FrameHint;

const READERS: Readonly<Record<string, Reader>> = {
  H264: (packet) => readNalHint('H264', packet.nalUnits('H264')),
  H265: (packet) => readNalHint('H265', packet.nalUnits('H265')),
  JPEG: ({ payload }) => readJpeg(payload),
  VP8: ({ payload }) => readVp8(payload),
  VP9: ({ payload }) => readVp9(payload),
  AV1: ({ payload }) => readAv1(payload),
};

const readNothing: Reader = () => NO_KEY_FRAME;

/** How many frames are remembered for packets that arrive late or out of order. */
const REMEMBERED_FRAMES = 16;

/** Measures the RTP packets of one video stream. The caller passes the time, in milliseconds of any monotonic clock. */
export class VideoMeter {
  /** Counted since the start. One RTP timestamp is one frame. */
  frames = 0;
  keyFrames = 0;
  /** 0 until a key frame has shown the size. */
  width = 0;
  height = 0;

  /** The latest frames, oldest first: whether each is known to be a key frame. */
  readonly #recent = new Map<number, boolean>();
  #framesSinceSample = 0;
  #bytesSinceSample = 0;
  #sampledAtMs: number | undefined;

  readonly #read: Reader;

  /** @param codec its name in SDP. For an unknown codec, only frames are counted. */
  constructor(codec: string) {
    this.#read = READERS[codec] ?? readNothing;
  }

  /** Returns true when the packet changed `width` or `height`. */
  feed(packet: RtpPacket, nowMs: number): boolean {
    this.#sampledAtMs ??= nowMs;
    this.#bytesSinceSample += packet.bytes.length;
    // Senders use padding to probe the bandwidth.
    if (packet.payload.length === 0) return false;
    const hint = this.#read(packet);
    this.#countFrame(packet.timestamp, hint.isKeyFrame);
    if (!hint.dimensions) return false;
    const { width, height } = hint.dimensions;
    const isChanged = width !== this.width || height !== this.height;
    this.width = width;
    this.height = height;
    return isChanged;
  }

  #countFrame(timestamp: number, isKeyFrame: boolean): void {
    const known = this.#recent.get(timestamp);
    if (known === undefined) {
      this.frames++;
      this.#framesSinceSample++;
      if (this.#recent.size === REMEMBERED_FRAMES) {
        for (const oldest of this.#recent.keys()) {
          this.#recent.delete(oldest);
          break;
        }
      }
    }
    if (isKeyFrame && known !== true) this.keyFrames++;
    this.#recent.set(timestamp, isKeyFrame || known === true);
  }

  /** Rates since the last sample, or since the first packet. */
  sample(nowMs: number): VideoSample {
    const elapsedMs = nowMs - (this.#sampledAtMs ?? nowMs);
    if (elapsedMs <= 0) return { fps: 0, bps: 0 };
    const sample = {
      fps: (this.#framesSinceSample * 1000) / elapsedMs,
      bps: (this.#bytesSinceSample * 8 * 1000) / elapsedMs,
    };
    this.#framesSinceSample = 0;
    this.#bytesSinceSample = 0;
    this.#sampledAtMs = nowMs;
    return sample;
  }
}
