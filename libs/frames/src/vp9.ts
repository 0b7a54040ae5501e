import { uint16At } from './big-endian.js';
import { BitReader } from './bit-reader.js';
import { type FrameHint, keyFrameHint, NO_KEY_FRAME, type VideoDimensions } from './frame-hint.js';
import type { VpxPayload } from './vp8.js';

export interface Vp9Payload extends VpxPayload {
  /** Size of the largest layer in the scalability structure, if there is one. */
  dimensions: VideoDimensions | undefined;
}

/** RFC 9628; undefined if the payload holds no data. */
export function readVp9Payload(payload: Uint8Array): Vp9Payload | undefined {
  const first = payload[0] ?? 0;
  const [hasPictureId, isPredicted, hasLayers] = [first & 0x80, first & 0x40, first & 0x20];
  const [isFlexible, startsLayer, hasStructure] = [first & 0x10, first & 0x08, first & 0x02];
  let offset = 1;
  let spatialLayer = 0;
  if (hasPictureId) offset += (payload[offset] ?? 0) & 0x80 ? 2 : 1;
  if (hasLayers) {
    spatialLayer = ((payload[offset++] ?? 0) >> 1) & 0x07;
    if (!isFlexible) offset++;
  }
  if (isFlexible && isPredicted) {
    // Up to three reference indices; the lowest bit says that another one follows.
    for (let i = 0; i < 3; i++) if (!((payload[offset++] ?? 0) & 1)) break;
  }
  const structure = hasStructure ? readStructure(payload, offset) : undefined;
  if (structure) offset = structure.end;
  if (offset >= payload.length) return undefined;
  const data = payload.subarray(offset);
  const startsFrame = startsLayer !== 0 && spatialLayer === 0;
  // The header must be checked as well, because some packetizers never set the P bit.
  const isKeyFrame = startsFrame && !isPredicted && readFrameStart(new BitReader(data))?.isKeyFrame === true;
  return { data, startsFrame, isKeyFrame, dimensions: structure?.dimensions };
}

/** The size comes from the scalability structure or, without one, from the key frame's uncompressed header. */
export function readVp9(payload: Uint8Array): FrameHint {
  const read = readVp9Payload(payload);
  if (read?.isKeyFrame !== true) return NO_KEY_FRAME;
  return keyFrameHint(read.dimensions ?? vp9Dimensions(read.data));
}

function readStructure(
  payload: Uint8Array,
  start: number,
): { end: number; dimensions: VideoDimensions | undefined } | undefined {
  const header = payload[start];
  if (header === undefined) return undefined;
  let offset = start + 1;
  let dimensions: VideoDimensions | undefined;
  if ((header & 0x10) !== 0) {
    for (let layer = 0; layer <= header >> 5; layer++) {
      if (offset + 4 > payload.length) return undefined;
      const width = uint16At(payload, offset);
      const height = uint16At(payload, offset + 2);
      if (width > 0 && height > 0) dimensions = { width, height };
      offset += 4;
    }
  }
  if ((header & 0x08) !== 0) {
    const pictures = payload[offset++] ?? 0;
    for (let picture = 0; picture < pictures; picture++) offset += 1 + (((payload[offset] ?? 0) >> 2) & 0x03);
  }
  return { end: offset, dimensions };
}

const SYNC_CODE = 0x498342;
const SRGB = 7;

/** The first bits of the uncompressed header (VP9 bitstream specification, section 6.2); undefined if there is none. */
function readFrameStart(reader: BitReader): { profile: number; isKeyFrame: boolean } | undefined {
  if (reader.bits(2) !== 2) return undefined; // frame_marker
  const profile = reader.bit() + 2 * reader.bit();
  if (profile === 3) reader.skip(1);
  const showsExistingFrame = reader.bit();
  return { profile, isKeyFrame: !showsExistingFrame && !reader.bit() };
}

/** Width and height from the uncompressed header of a key frame. */
export function vp9Dimensions(frame: Uint8Array): VideoDimensions | undefined {
  const reader = new BitReader(frame);
  const start = readFrameStart(reader);
  if (!start?.isKeyFrame) return undefined;
  const { profile } = start;
  reader.skip(2); // show_frame, error_resilient_mode
  if (reader.bits(24) !== SYNC_CODE) return undefined;
  if (profile >= 2) reader.skip(1); // ten_or_twelve_bit
  const colorSpace = reader.bits(3);
  if (colorSpace !== SRGB) reader.skip(profile % 2 === 1 ? 4 : 1);
  else if (profile % 2 === 1) reader.skip(1);
  const width = reader.bits(16) + 1;
  const height = reader.bits(16) + 1;
  return reader.exhausted ? undefined : { width, height };
}
