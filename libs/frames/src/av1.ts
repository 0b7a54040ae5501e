import { BitReader } from './bit-reader.js';
import { type FrameHint, keyFrameHint, NO_KEY_FRAME, type VideoDimensions } from './frame-hint.js';

const OBU_SEQUENCE_HEADER = 1;

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
      return start === undefined ? undefined : readSequenceHeader(body.subarray(start));
    }
    offset += size;
  }
  return undefined;
}

function readLeb128(bytes: Uint8Array, start: number): { value: number; end: number } | undefined {
  let value = 0;
  for (let index = 0; index < 4; index++) {
    const byte = bytes[start + index];
    if (byte === undefined) return undefined;
    value += (byte & 0x7f) * 128 ** index;
    if ((byte & 0x80) === 0) return { value, end: start + index + 1 };
  }
  return undefined;
}

/** AV1 specification, section 5.5.1, up to the frame size. */
function readSequenceHeader(body: Uint8Array): VideoDimensions | undefined {
  const reader = new BitReader(body);
  reader.skip(4); // seq_profile, still_picture
  if (reader.bit()) reader.skip(5);
  else skipOperatingPoints(reader);
  const widthBits = reader.bits(4) + 1;
  const heightBits = reader.bits(4) + 1;
  const width = reader.bits(widthBits) + 1;
  const height = reader.bits(heightBits) + 1;
  return reader.exhausted ? undefined : { width, height };
}

function skipOperatingPoints(reader: BitReader): void {
  let delayBits = 0;
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
    if (reader.bits(5) > 7) reader.skip(1); // seq_tier
    if (delayBits > 0 && reader.bit()) reader.skip(2 * delayBits + 1);
    if (hasInitialDelay && reader.bit()) reader.skip(4);
  }
}
