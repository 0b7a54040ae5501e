import { BitReader } from './bit-reader.js';
import type { FrameHint, VideoDimensions } from './video-frame.js';

export const H264_NAL = { slice: 1, idr: 5, sei: 6, sps: 7, pps: 8, delimiter: 9 } as const;

/** One piece of an RTP payload (RFC 6184): a whole NAL unit, its header included, or a part of one. */
export type H264Piece =
  | { tag: 'whole'; type: number; nalUnit: Uint8Array }
  | {
      tag: 'fragment';
      type: number;
      /** The NAL unit's header byte, put together from the fragment's two. */
      header: number;
      isFirst: boolean;
      isLast: boolean;
      /** What follows the header in the NAL unit. */
      data: Uint8Array;
    };

const STAP_A = 24;
const FU_A = 28;

/**
 * The NAL units of an RTP payload: single, STAP-A or FU-A, which are all that packetization modes 0 and 1 have.
 * A truncated aggregate gives those that are whole.
 */
export function walkH264(payload: Uint8Array): H264Piece[] {
  const header = payload[0];
  if (header === undefined || (header & 0x80) !== 0) return [];
  const type = header & 0x1f;
  if (type === STAP_A) return aggregated(payload);
  if (type === FU_A) {
    const fragment = payload[1];
    if (fragment === undefined) return [];
    return [
      {
        tag: 'fragment',
        type: fragment & 0x1f,
        header: (header & 0xe0) | (fragment & 0x1f),
        isFirst: (fragment & 0x80) !== 0,
        isLast: (fragment & 0x40) !== 0,
        data: payload.subarray(2),
      },
    ];
  }
  return type >= 1 && type < STAP_A ? [{ tag: 'whole', type, nalUnit: payload }] : [];
}

function aggregated(payload: Uint8Array): H264Piece[] {
  const pieces: H264Piece[] = [];
  let offset = 1;
  while (offset + 2 < payload.length) {
    const size = (payload[offset] ?? 0) * 256 + (payload[offset + 1] ?? 0);
    const nalUnit = payload.subarray(offset + 2, offset + 2 + size);
    if (size === 0 || nalUnit.length < size) break;
    pieces.push({ tag: 'whole', type: (nalUnit[0] ?? 0) & 0x1f, nalUnit });
    offset += 2 + size;
  }
  return pieces;
}

/** A key frame shows itself by its sequence parameter set or by an IDR slice, the fragments of one included. */
export function readH264(payload: Uint8Array): FrameHint {
  let isKeyFrame = false;
  let dimensions: VideoDimensions | undefined;
  for (const piece of walkH264(payload)) {
    if (piece.type === H264_NAL.idr || piece.type === H264_NAL.sps) isKeyFrame = true;
    if (piece.tag === 'whole' && piece.type === H264_NAL.sps) dimensions = parseH264Sps(piece.nalUnit) ?? dimensions;
  }
  return dimensions ? { isKeyFrame, dimensions } : { isKeyFrame };
}

export interface H264Sps extends VideoDimensions {
  profileIdc: number;
  constraintFlags: number;
  levelIdc: number;
  /** As in SDP: `42e01f`. */
  profileLevelId: string;
}

/** Profiles whose parameter set has the chroma format and scaling lists (H.264 section 7.3.2.1.1). */
const HIGH_PROFILES = new Set([100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135]);

const MAX_SIDE_PX = 16384;

/** A sequence parameter set's NAL unit, header included. The VUI isn't read. Undefined for what makes no sense. */
export function parseH264Sps(nalUnit: Uint8Array): H264Sps | undefined {
  if (nalUnit.length < 5 || ((nalUnit[0] ?? 0) & 0x1f) !== H264_NAL.sps) return undefined;
  const bits = new BitReader(withoutEmulationPrevention(nalUnit.subarray(1)));
  const profileIdc = bits.read(8);
  const constraintFlags = bits.read(8);
  const levelIdc = bits.read(8);
  bits.readUnsignedGolomb(); // seq_parameter_set_id
  const chromaFormat = HIGH_PROFILES.has(profileIdc) ? readHighProfileFields(bits) : 1;
  bits.readUnsignedGolomb(); // log2_max_frame_num_minus4
  if (!skipPictureOrder(bits)) return undefined;
  bits.readUnsignedGolomb(); // max_num_ref_frames
  bits.skip(1); // gaps_in_frame_num_value_allowed_flag
  const widthInMacroblocks = bits.readUnsignedGolomb() + 1;
  const heightInMapUnits = bits.readUnsignedGolomb() + 1;
  const fieldFactor = bits.readFlag() ? 1 : 2;
  if (fieldFactor === 2) bits.skip(1); // mb_adaptive_frame_field_flag
  bits.skip(1); // direct_8x8_inference_flag
  const crop = { left: 0, right: 0, top: 0, bottom: 0 };
  if (bits.readFlag()) {
    crop.left = bits.readUnsignedGolomb();
    crop.right = bits.readUnsignedGolomb();
    crop.top = bits.readUnsignedGolomb();
    crop.bottom = bits.readUnsignedGolomb();
  }
  if (bits.isExhausted) return undefined;
  const unitX = chromaFormat === 1 || chromaFormat === 2 ? 2 : 1;
  const unitY = (chromaFormat === 1 ? 2 : 1) * fieldFactor;
  const width = widthInMacroblocks * 16 - (crop.left + crop.right) * unitX;
  const height = heightInMapUnits * 16 * fieldFactor - (crop.top + crop.bottom) * unitY;
  if (width < 1 || height < 1 || width > MAX_SIDE_PX || height > MAX_SIDE_PX) return undefined;
  const profileLevelId = [profileIdc, constraintFlags, levelIdc]
    .map((byte) => byte.toString(16).padStart(2, '0'))
    .join('');
  return { width, height, profileIdc, constraintFlags, levelIdc, profileLevelId };
}

/** Returns chroma_format_idc, 0 also for separately coded colour planes. */
function readHighProfileFields(bits: BitReader): number {
  const chromaFormat = bits.readUnsignedGolomb();
  const separatePlanes = chromaFormat === 3 && bits.readFlag();
  bits.readUnsignedGolomb(); // bit_depth_luma_minus8
  bits.readUnsignedGolomb(); // bit_depth_chroma_minus8
  bits.skip(1); // qpprime_y_zero_transform_bypass_flag
  if (bits.readFlag()) {
    for (let list = 0; list < (chromaFormat === 3 ? 12 : 8); list++) {
      if (bits.readFlag()) skipScalingList(bits, list < 6 ? 16 : 64);
    }
  }
  return separatePlanes ? 0 : chromaFormat;
}

function skipScalingList(bits: BitReader, size: number): void {
  let last = 8;
  let next = 8;
  for (let index = 0; index < size && next !== 0; index++) {
    next = (last + bits.readSignedGolomb() + 256) % 256;
    if (next !== 0) last = next;
  }
}

function skipPictureOrder(bits: BitReader): boolean {
  const type = bits.readUnsignedGolomb();
  if (type === 0) {
    bits.readUnsignedGolomb(); // log2_max_pic_order_cnt_lsb_minus4
    return true;
  }
  if (type === 1) {
    bits.skip(1); // delta_pic_order_always_zero_flag
    bits.readSignedGolomb(); // offset_for_non_ref_pic
    bits.readSignedGolomb(); // offset_for_top_to_bottom_field
    const count = bits.readUnsignedGolomb();
    if (count > 255) return false;
    for (let index = 0; index < count; index++) bits.readSignedGolomb();
    return true;
  }
  return type === 2;
}

/** 00 00 03 stands for 00 00 (H.264 section 7.4.1). */
function withoutEmulationPrevention(bytes: Uint8Array): Uint8Array {
  const kept: number[] = [];
  let zeros = 0;
  for (const byte of bytes) {
    if (zeros >= 2 && byte === 3) {
      zeros = 0;
      continue;
    }
    zeros = byte === 0 ? zeros + 1 : 0;
    kept.push(byte);
  }
  return Uint8Array.from(kept);
}
