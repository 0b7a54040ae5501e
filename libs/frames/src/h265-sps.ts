import { BitReader, unescapeNalUnit } from './bit-reader.js';

/** The parts of an H.265 sequence parameter set (§7.3.2.2) that hvcC and HLS need. */
export interface H265Sps {
  id: number;
  profileSpace: number;
  tierFlag: number;
  profileIdc: number;
  compatibilityFlags: number;
  /** The 48 bits of the progressive, interlaced and other constraint flags, as six bytes. */
  constraintFlags: Uint8Array;
  levelIdc: number;
  temporalLayers: number;
  temporalIdNesting: number;
  chromaFormatIdc: number;
  bitDepthLuma: number;
  bitDepthChroma: number;
  /** In pixels, after applying the conformance window. */
  width: number;
  height: number;
  reorderFrames: number;
}

export function parseH265Sps(nalUnit: Uint8Array): H265Sps | undefined {
  if (nalUnit.length < 16 || ((nalUnit[0]! >> 1) & 0x3f) !== 33) return undefined;
  const bytes = unescapeNalUnit(nalUnit.subarray(2, 1024));
  const reader = new BitReader(bytes);
  reader.skip(4);
  const maxSubLayersMinus1 = reader.bits(3);
  const temporalIdNesting = reader.bit();
  const profileSpace = reader.bits(2);
  const tierFlag = reader.bit();
  const profileIdc = reader.bits(5);
  const compatibilityFlags = reader.bits(32);
  const constraintFlags = bytes.slice(6, 12);
  reader.skip(48);
  const levelIdc = reader.bits(8);
  skipSubLayers(reader, maxSubLayersMinus1);
  const id = reader.unsignedExpGolomb();
  const chromaFormatIdc = reader.unsignedExpGolomb();
  const separateColourPlanes = chromaFormatIdc === 3 ? reader.bit() : 0;
  const codedWidth = reader.unsignedExpGolomb();
  const codedHeight = reader.unsignedExpGolomb();
  let [left, right, top, bottom] = [0, 0, 0, 0];
  if (reader.bit()) {
    left = reader.unsignedExpGolomb();
    right = reader.unsignedExpGolomb();
    top = reader.unsignedExpGolomb();
    bottom = reader.unsignedExpGolomb();
  }
  const bitDepthLuma = 8 + reader.unsignedExpGolomb();
  const bitDepthChroma = 8 + reader.unsignedExpGolomb();
  reader.unsignedExpGolomb(); // log2_max_pic_order_cnt_lsb_minus4
  const isOrderedPerSubLayer = reader.bit();
  let reorderFrames = 0;
  for (let i = isOrderedPerSubLayer ? 0 : maxSubLayersMinus1; i <= maxSubLayersMinus1; i++) {
    reader.unsignedExpGolomb();
    reorderFrames = reader.unsignedExpGolomb();
    reader.unsignedExpGolomb();
  }
  const isSubsampled = chromaFormatIdc !== 0 && !separateColourPlanes;
  const width = codedWidth - (left + right) * (isSubsampled && chromaFormatIdc < 3 ? 2 : 1);
  const height = codedHeight - (top + bottom) * (isSubsampled && chromaFormatIdc === 1 ? 2 : 1);
  if (reader.exhausted || width <= 0 || height <= 0 || width > 16_384 || height > 16_384) return undefined;
  return {
    id,
    profileSpace,
    tierFlag,
    profileIdc,
    compatibilityFlags,
    constraintFlags,
    levelIdc,
    temporalLayers: maxSubLayersMinus1 + 1,
    temporalIdNesting,
    chromaFormatIdc,
    bitDepthLuma,
    bitDepthChroma,
    width,
    height,
    reorderFrames: Math.min(reorderFrames, 16),
  };
}

function skipSubLayers(reader: BitReader, maxSubLayersMinus1: number): void {
  if (maxSubLayersMinus1 === 0) return;
  const present: { profile: number; level: number }[] = [];
  for (let i = 0; i < maxSubLayersMinus1; i++) present.push({ profile: reader.bit(), level: reader.bit() });
  reader.skip(2 * (8 - maxSubLayersMinus1));
  for (const { profile, level } of present) reader.skip((profile ? 88 : 0) + (level ? 8 : 0));
}
