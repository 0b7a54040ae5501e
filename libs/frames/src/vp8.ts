import { type FrameHint, keyFrameHint, NO_KEY_FRAME, type VideoDimensions } from './frame-hint.js';

/** The part of a VP8 or VP9 frame that one RTP payload holds. */
export interface VpxPayload {
  /** The bytes after the payload descriptor. */
  data: Uint8Array;
  startsFrame: boolean;
  isKeyFrame: boolean;
}

/** RFC 7741; undefined if the payload holds no data. */
export function readVp8Payload(payload: Uint8Array): VpxPayload | undefined {
  const first = payload[0] ?? 0;
  let offset = 1;
  if (first & 0x80) {
    const extension = payload[offset++] ?? 0;
    if (extension & 0x80) offset += (payload[offset] ?? 0) & 0x80 ? 2 : 1;
    if (extension & 0x40) offset += 1;
    if (extension & 0x30) offset += 1;
  }
  if (offset >= payload.length) return undefined;
  const data = payload.subarray(offset);
  const startsFrame = (first & 0x10) !== 0 && (first & 0x07) === 0;
  return { data, startsFrame, isKeyFrame: startsFrame && (data[0]! & 1) === 0 };
}

/** Width and height from the header of a key frame (RFC 6386 §9.1). */
export function vp8Dimensions(keyFrame: Uint8Array): VideoDimensions | undefined {
  if (keyFrame.length < 10 || keyFrame[0]! & 1) return undefined;
  if (keyFrame[3] !== 0x9d || keyFrame[4] !== 0x01 || keyFrame[5] !== 0x2a) return undefined;
  const width = (keyFrame[6]! | (keyFrame[7]! << 8)) & 0x3fff;
  const height = (keyFrame[8]! | (keyFrame[9]! << 8)) & 0x3fff;
  return width > 0 && height > 0 ? { width, height } : undefined;
}

export function readVp8(payload: Uint8Array): FrameHint {
  const read = readVp8Payload(payload);
  return read?.isKeyFrame === true ? keyFrameHint(vp8Dimensions(read.data)) : NO_KEY_FRAME;
}
