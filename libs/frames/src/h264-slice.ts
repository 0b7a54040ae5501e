import { BitReader } from './bit-reader.js';

/** H.264 §7.3.3: does the NAL unit hold a B slice? Pictures that have some come out of order, which WebRTC can't carry. */
export function isBSlice(nalUnit: Uint8Array): boolean {
  const type = (nalUnit[0] ?? 0) & 0x1f;
  if (type !== 1 && type !== 2) return false; // a key frame has none
  const reader = new BitReader(nalUnit.subarray(1, 12));
  reader.unsignedExpGolomb(); // first_mb_in_slice
  return reader.unsignedExpGolomb() % 5 === 1;
}
