import { BitReader } from './bit-reader.js';

/**
 * Whether the NAL unit holds a B slice (H.264 §7.3.3). Pictures with B slices arrive out of order, which WebRTC can't
 * carry.
 */
export function isBSlice(nalUnit: Uint8Array): boolean {
  const type = (nalUnit[0] ?? 0) & 0x1f;
  if (type !== 1 && type !== 2) return false; // a key frame has none
  const reader = new BitReader(nalUnit.subarray(1, 12));
  reader.unsignedExpGolomb(); // first_mb_in_slice
  return reader.unsignedExpGolomb() % 5 === 1;
}
