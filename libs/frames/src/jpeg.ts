import { type FrameHint, keyFrameHint } from './frame-hint.js';

/** An RTP payload of JPEG (RFC 2435 §3.1): every picture is whole, and each packet tells its size in blocks of 8 pixels. */
export function readJpeg(payload: Uint8Array): FrameHint {
  const width = (payload[6] ?? 0) * 8;
  const height = (payload[7] ?? 0) * 8;
  return keyFrameHint(width > 0 && height > 0 ? { width, height } : undefined);
}
