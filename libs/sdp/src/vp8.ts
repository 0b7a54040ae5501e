import type { FrameHint } from './video-frame.js';

/** An RTP payload of VP8 (RFC 7741): its descriptor, then, at a frame's start, the frame header (RFC 6386). */
export function readVp8(payload: Uint8Array): FrameHint {
  const first = payload[0];
  if (first === undefined) return { isKeyFrame: false };
  const isFrameStart = (first & 0x10) !== 0 && (first & 0x07) === 0;
  let offset = 1;
  if ((first & 0x80) !== 0) {
    const extension = payload[offset++] ?? 0;
    if ((extension & 0x80) !== 0) offset += ((payload[offset] ?? 0) & 0x80) !== 0 ? 2 : 1;
    if ((extension & 0x40) !== 0) offset += 1;
    if ((extension & 0x30) !== 0) offset += 1;
  }
  const frame = payload.subarray(offset);
  if (!isFrameStart || frame.length < 3 || ((frame[0] ?? 1) & 1) !== 0) return { isKeyFrame: false };
  if (frame.length < 10 || frame[3] !== 0x9d || frame[4] !== 0x01 || frame[5] !== 0x2a) return { isKeyFrame: true };
  const width = ((frame[6] ?? 0) | ((frame[7] ?? 0) << 8)) & 0x3fff;
  const height = ((frame[8] ?? 0) | ((frame[9] ?? 0) << 8)) & 0x3fff;
  return width > 0 && height > 0 ? { isKeyFrame: true, dimensions: { width, height } } : { isKeyFrame: true };
}
