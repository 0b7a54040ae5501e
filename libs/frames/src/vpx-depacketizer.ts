import { concatBytes, type Depacketizer, type Frame, MAX_FRAME_BYTES, type TimedPayload } from './frame.js';
import { readVp8Payload } from './vp8.js';
import { readVp9Payload } from './vp9.js';

interface VpxPicture {
  timestamp: number;
  parts: Uint8Array[];
  bytes: number;
  isKeyFrame: boolean;
  isBroken: boolean;
}

/** RFC 7741 (VP8) and RFC 9628 (VP9; the spatial layers of a picture are joined in order). */
export class VpxDepacketizer implements Depacketizer {
  readonly #codec: 'VP8' | 'VP9';
  #picture: VpxPicture | undefined;
  #lost = false;
  #needsKeyFrame = false;

  constructor(codec: 'VP8' | 'VP9') {
    this.#codec = codec;
  }

  push({ payload, marker, timestamp, lostBefore }: TimedPayload): Frame[] {
    const frames: Frame[] = [];
    if (lostBefore) this.#noteLoss();
    if (this.#picture !== undefined && this.#picture.timestamp !== timestamp) this.#endPicture(frames);
    const read = this.#codec === 'VP8' ? readVp8Payload(payload) : readVp9Payload(payload);
    if (this.#picture === undefined) {
      const isBroken = read === undefined || !read.startsFrame;
      this.#picture = { timestamp, parts: [], bytes: 0, isKeyFrame: read?.isKeyFrame ?? false, isBroken };
    }
    const picture = this.#picture;
    if (read === undefined || picture.bytes + read.data.length > MAX_FRAME_BYTES) {
      picture.isBroken = true;
      picture.parts = [];
    } else {
      picture.parts.push(read.data);
      picture.bytes += read.data.length;
    }
    if (marker) this.#endPicture(frames);
    return frames;
  }

  /** A picture without its marker may lack its end. */
  flush(): Frame[] {
    if (this.#picture !== undefined) this.#noteLoss();
    this.#picture = undefined;
    return [];
  }

  #noteLoss(): void {
    this.#lost = true;
    this.#needsKeyFrame = true;
    if (this.#picture !== undefined) this.#picture.isBroken = true;
  }

  #endPicture(frames: Frame[]): void {
    const picture = this.#picture!;
    this.#picture = undefined;
    if (picture.isBroken) {
      this.#noteLoss();
      return;
    }
    if (picture.isKeyFrame) this.#needsKeyFrame = false;
    frames.push({
      kind: 'video',
      codec: this.#codec,
      rtpTimestamp: picture.timestamp,
      lost: this.#lost,
      complete: !this.#needsKeyFrame,
      isKeyFrame: picture.isKeyFrame,
      data: concatBytes(picture.parts),
    });
    this.#lost = false;
  }
}
