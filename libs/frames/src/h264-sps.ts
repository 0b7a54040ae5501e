import { BitReader, unescapeNalUnit } from './bit-reader.js';

/** The parts of an H.264 sequence parameter set (§7.3.2.1.1) that HLS and MP4 need. */
export interface H264Sps {
  id: number;
  profileIdc: number;
  constraintFlags: number;
  levelIdc: number;
  /** The three fields above in the form that SDP and CODECS use: `42e01f`. */
  profileLevelId: string;
  chromaFormatIdc: number;
  bitDepthLuma: number;
  bitDepthChroma: number;
  /** In pixels, after cropping. */
  width: number;
  height: number;
  /** From the timing in the VUI, if that is plausible. */
  frameRate: number | undefined;
  /**
   * How many frames may precede another one in decoding order and follow it in output order; undefined if not stated.
   */
  reorderFrames: number | undefined;
}

const PROFILES_WITH_CHROMA_FORMAT = new Set([100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135]);

export function parseH264Sps(nalUnit: Uint8Array): H264Sps | undefined {
  if (nalUnit.length < 4 || (nalUnit[0]! & 0x1f) !== 7) return undefined;
  const reader = new BitReader(unescapeNalUnit(nalUnit.subarray(1, 1024)));
  const profileIdc = reader.bits(8);
  const constraintFlags = reader.bits(8);
  const levelIdc = reader.bits(8);
  const id = reader.unsignedExpGolomb();
  let chromaFormatIdc = 1;
  let separateColourPlanes = 0;
  let bitDepthLuma = 8;
  let bitDepthChroma = 8;
  if (PROFILES_WITH_CHROMA_FORMAT.has(profileIdc)) {
    chromaFormatIdc = reader.unsignedExpGolomb();
    if (chromaFormatIdc === 3) separateColourPlanes = reader.bit();
    bitDepthLuma = 8 + reader.unsignedExpGolomb();
    bitDepthChroma = 8 + reader.unsignedExpGolomb();
    reader.skip(1);
    if (reader.bit())
      for (let i = 0; i < (chromaFormatIdc === 3 ? 12 : 8); i++) skipScalingList(reader, i < 6 ? 16 : 64);
  }
  reader.unsignedExpGolomb(); // log2_max_frame_num_minus4
  const pictureOrderType = reader.unsignedExpGolomb();
  if (pictureOrderType === 0) reader.unsignedExpGolomb();
  else if (pictureOrderType === 1) {
    reader.skip(1);
    reader.signedExpGolomb();
    reader.signedExpGolomb();
    const cycle = reader.unsignedExpGolomb();
    for (let i = 0; i < cycle && !reader.exhausted; i++) reader.signedExpGolomb();
  }
  const maxReferenceFrames = reader.unsignedExpGolomb();
  reader.skip(1);
  const widthInMacroblocks = reader.unsignedExpGolomb() + 1;
  const heightInMapUnits = reader.unsignedExpGolomb() + 1;
  const frameMacroblocksOnly = reader.bit();
  if (!frameMacroblocksOnly) reader.skip(1);
  reader.skip(1);
  let [left, right, top, bottom] = [0, 0, 0, 0];
  if (reader.bit()) {
    left = reader.unsignedExpGolomb();
    right = reader.unsignedExpGolomb();
    top = reader.unsignedExpGolomb();
    bottom = reader.unsignedExpGolomb();
  }
  if (reader.exhausted) return undefined;
  const vui = reader.bit() ? parseVui(reader) : undefined;
  const isSubsampled = chromaFormatIdc !== 0 && !separateColourPlanes;
  const cropUnitX = isSubsampled && chromaFormatIdc < 3 ? 2 : 1;
  const cropUnitY = (isSubsampled && chromaFormatIdc === 1 ? 2 : 1) * (2 - frameMacroblocksOnly);
  const width = widthInMacroblocks * 16 - (left + right) * cropUnitX;
  const height = heightInMapUnits * 16 * (2 - frameMacroblocksOnly) - (top + bottom) * cropUnitY;
  if (width <= 0 || height <= 0 || width > 16_384 || height > 16_384) return undefined;
  // Baseline has no B slices. Picture order type 2, or no reference frames at all, also rules out reordering.
  const neverReorders = profileIdc === 66 || pictureOrderType === 2 || maxReferenceFrames === 0;
  return {
    id,
    profileIdc,
    constraintFlags,
    levelIdc,
    profileLevelId: [profileIdc, constraintFlags, levelIdc].map((byte) => byte.toString(16).padStart(2, '0')).join(''),
    chromaFormatIdc,
    bitDepthLuma,
    bitDepthChroma,
    width,
    height,
    frameRate: vui?.frameRate,
    reorderFrames: neverReorders ? 0 : vui?.reorderFrames,
  };
}

function skipScalingList(reader: BitReader, size: number): void {
  if (!reader.bit()) return;
  let last = 8;
  let next = 8;
  for (let i = 0; i < size; i++) {
    if (next !== 0) next = (last + reader.signedExpGolomb() + 256) % 256;
    last = next === 0 ? last : next;
  }
}

function parseVui(reader: BitReader): { frameRate: number | undefined; reorderFrames: number | undefined } {
  let frameRate: number | undefined;
  let reorderFrames: number | undefined;
  if (reader.bit() && reader.bits(8) === 255) reader.skip(32);
  if (reader.bit()) reader.skip(1);
  if (reader.bit()) {
    reader.skip(4);
    if (reader.bit()) reader.skip(24);
  }
  if (reader.bit()) {
    reader.unsignedExpGolomb();
    reader.unsignedExpGolomb();
  }
  if (reader.bit()) {
    const unitsInTick = reader.bits(32);
    const timeScale = reader.bits(32);
    reader.skip(1);
    const rate = timeScale / (2 * unitsInTick);
    if (rate >= 1 && rate <= 300) frameRate = rate;
  }
  const nalHrd = reader.bit();
  if (nalHrd) skipHrd(reader);
  const vclHrd = reader.bit();
  if (vclHrd) skipHrd(reader);
  if (nalHrd || vclHrd) reader.skip(1);
  reader.skip(1);
  if (reader.bit()) {
    reader.skip(1);
    for (let i = 0; i < 4; i++) reader.unsignedExpGolomb();
    const reorder = reader.unsignedExpGolomb();
    if (!reader.exhausted && reorder <= 16) reorderFrames = reorder;
  }
  return { frameRate, reorderFrames };
}

function skipHrd(reader: BitReader): void {
  const count = reader.unsignedExpGolomb() + 1;
  reader.skip(8);
  for (let i = 0; i < count && i < 32; i++) {
    reader.unsignedExpGolomb();
    reader.unsignedExpGolomb();
    reader.skip(1);
  }
  reader.skip(20);
}
