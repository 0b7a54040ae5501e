import { type FrameHint, keyFrameHint } from './frame-hint.js';

/**
 * Reads an RTP payload of JPEG (RFC 2435 §3.1): every picture is a key frame, and each packet holds its size in blocks
 * of 8 pixels.
 */
export function readJpeg(payload: Uint8Array): FrameHint {
  const width = (payload[6] ?? 0) * 8;
  const height = (payload[7] ?? 0) * 8;
  return keyFrameHint(width > 0 && height > 0 ? { width, height } : undefined);
}
