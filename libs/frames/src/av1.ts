import { BitReader } from './bit-reader.js';
import { type FrameHint, keyFrameHint, NO_KEY_FRAME, type VideoDimensions } from './frame-hint.js';

export const OBU_SEQUENCE_HEADER = 1;
const OBU_FRAME_HEADER = 3;
const OBU_FRAME = 6;

/**
 * Reads an RTP payload of AV1. The N bit of the aggregation header starts a coded video sequence and so marks a key
 * frame. The size is that of the sequence header: the largest size that a frame of the sequence may have.
 */
export function readAv1(payload: Uint8Array): FrameHint {
  const aggregation = payload[0] ?? 0;
  const isKeyFrame = (aggregation & 0x08) !== 0 && (aggregation & 0x80) === 0;
  return isKeyFrame ? keyFrameHint(readFirstObus(payload.subarray(1), (aggregation >> 4) & 0x03)) : NO_KEY_FRAME;
}

/** `count` is the number of OBU elements, of which the last has no length; 0 if all of them have a length. */
function readFirstObus(payload: Uint8Array, count: number): VideoDimensions | undefined {
  let offset = 0;
  for (let index = 0; offset < payload.length && index < 8; index++) {
    let size = payload.length - offset;
    if (count === 0 || index < count - 1) {
      const length = readLeb128(payload, offset);
      if (!length) return undefined;
      offset = length.end;
      size = length.value;
    }
    const obu = payload.subarray(offset, offset + size);
    const header = obu[0] ?? 0;
    if (((header >> 3) & 0x0f) === OBU_SEQUENCE_HEADER) {
      const body = obu.subarray((header & 0x04) !== 0 ? 2 : 1);
      const start = (header & 0x02) !== 0 ? readLeb128(body, 0)?.end : 0;
      const sequence = start === undefined ? undefined : parseAv1Sequence(body.subarray(start));
      return sequence && { width: sequence.width, height: sequence.height };
    }
    offset += size;
  }
  return undefined;
}

export function readLeb128(bytes: Uint8Array, start: number): { value: number; end: number } | undefined {
  let value = 0;
  for (let index = 0; index < 4; index++) {
    const byte = bytes[start + index];
    if (byte === undefined) return undefined;
    value += (byte & 0x7f) * 128 ** index;
    if ((byte & 0x80) === 0) return { value, end: start + index + 1 };
  }
  return undefined;
}

/** The parts of a sequence header that a file's header repeats (AV1 specification §5.5). */
export interface Av1Sequence {
  readonly width: number;
  readonly height: number;
  readonly profile: number;
  readonly level: number;
  readonly tier: number;
  readonly isHighDepth: boolean;
  readonly isTwelveBit: boolean;
  readonly isMonochrome: boolean;
  readonly subsamplingX: number;
  readonly subsamplingY: number;
  readonly samplePosition: number;
}

/** `body` is the OBU without its header. */
export function parseAv1Sequence(body: Uint8Array): Av1Sequence | undefined {
  const reader = new BitReader(body);
  const profile = reader.bits(3);
  reader.skip(1); // still_picture
  const isReduced = reader.bit() === 1;
  const { level, tier } = isReduced ? { level: reader.bits(5), tier: 0 } : readOperatingPoints(reader);
  const widthBits = reader.bits(4) + 1;
  const heightBits = reader.bits(4) + 1;
  const width = reader.bits(widthBits) + 1;
  const height = reader.bits(heightBits) + 1;
  skipTools(reader, isReduced);
  const color = readColor(reader, profile);
  return reader.exhausted ? undefined : { width, height, profile, level, tier, ...color };
}

function skipTools(reader: BitReader, isReduced: boolean): void {
  if (!isReduced && reader.bit()) reader.skip(7); // lengths of frame ids
  reader.skip(3); // 128×128 superblocks, filter intra, intra edge filter
  if (!isReduced) {
    reader.skip(4); // interintra, masked, warped, dual filter
    const hasOrderHint = reader.bit();
    if (hasOrderHint) reader.skip(2);
    const forcesScreenContent = reader.bit() ? 2 : reader.bit();
    if (forcesScreenContent > 0 && !reader.bit()) reader.skip(1);
    if (hasOrderHint) reader.skip(3);
  }
  reader.skip(3); // superres, cdef, restoration
}

function readColor(reader: BitReader, profile: number) {
  const isHighDepth = reader.bit() === 1;
  const isTwelveBit = profile === 2 && isHighDepth && reader.bit() === 1;
  const isMonochrome = profile !== 1 && reader.bit() === 1;
  const description = reader.bit() ? [reader.bits(8), reader.bits(8), reader.bits(8)].join() : '';
  const depth = { isHighDepth, isTwelveBit, isMonochrome };
  if (isMonochrome) {
    reader.skip(1);
    return { ...depth, subsamplingX: 1, subsamplingY: 1, samplePosition: 0 };
  }
  if (description === SRGB) return { ...depth, subsamplingX: 0, subsamplingY: 0, samplePosition: 0 };
  reader.skip(1);
  let [subsamplingX, subsamplingY] = profile === 0 ? [1, 1] : profile === 1 ? [0, 0] : [1, 0];
  if (isTwelveBit) {
    subsamplingX = reader.bit();
    subsamplingY = subsamplingX ? reader.bit() : 0;
  }
  const samplePosition = subsamplingX && subsamplingY ? reader.bits(2) : 0;
  return { ...depth, subsamplingX, subsamplingY, samplePosition };
}

/** BT.709, sRGB, identity: these colours aren't subsampled. */
const SRGB = '1,13,0';

/** Whether an OBU begins a key frame. */
export function isAv1KeyFrame(type: number, body: Uint8Array): boolean {
  // show_existing_frame, then frame_type; a key frame is 0.
  return (type === OBU_FRAME || type === OBU_FRAME_HEADER) && ((body[0] ?? 0xff) & 0xe0) === 0;
}

function readOperatingPoints(reader: BitReader): { level: number; tier: number } {
  let [level, tier, delayBits] = [0, 0, 0];
  if (reader.bit()) {
    reader.skip(64); // num_units_in_display_tick, time_scale
    if (reader.bit()) reader.unsignedExpGolomb(); // uvlc() is coded like ue(v)
    if (reader.bit()) {
      delayBits = reader.bits(5) + 1;
      reader.skip(42);
    }
  }
  const hasInitialDelay = reader.bit();
  const points = reader.bits(5) + 1;
  for (let point = 0; point < points; point++) {
    reader.skip(12); // operating_point_idc
    const pointLevel = reader.bits(5);
    const pointTier = pointLevel > 7 ? reader.bit() : 0;
    if (point === 0) [level, tier] = [pointLevel, pointTier];
    if (delayBits > 0 && reader.bit()) reader.skip(2 * delayBits + 1);
    if (hasInitialDelay && reader.bit()) reader.skip(4);
  }
  return { level, tier };
}
