import { BitReader } from './bit-reader.js';
import type { FrameHint, VideoDimensions } from './video-frame.js';

/**
 * An RTP payload of VP9 (RFC 9628). The size comes from the scalability structure, its largest layer, or else from
 * the key frame's uncompressed header.
 */
export function readVp9(payload: Uint8Array): FrameHint {
  const first = payload[0];
  if (first === undefined) return { isKeyFrame: false };
  const [hasPictureId, isPredicted, hasLayers, isFlexible, isFrameStart, , hasStructure] = Array.from(
    { length: 7 },
    (_, index) => (first & (0x80 >> index)) !== 0,
  );
  let offset = 1;
  if (hasPictureId) offset += ((payload[offset] ?? 0) & 0x80) !== 0 ? 2 : 1;
  let spatialLayer = 0;
  if (hasLayers) {
    spatialLayer = ((payload[offset] ?? 0) >> 1) & 0x07;
    offset += isFlexible ? 1 : 2;
  }
  if (isFlexible && isPredicted) {
    // Up to three reference indices, the lowest bit saying that another follows.
    for (let count = 0; count < 3; count++) {
      if (((payload[offset++] ?? 0) & 1) === 0) break;
    }
  }
  const structure = hasStructure ? readStructure(payload, offset) : undefined;
  if (structure) offset = structure.end;
  const frame = payload.subarray(offset);
  // The header too: some packetizers never set the P bit.
  const isKeyFrame = !isPredicted && isFrameStart === true && spatialLayer === 0 && startsKeyFrame(frame);
  if (!isKeyFrame) return { isKeyFrame };
  const dimensions = structure?.dimensions ?? readFrameHeader(frame);
  return dimensions ? { isKeyFrame, dimensions } : { isKeyFrame };
}

function readStructure(payload: Uint8Array, start: number): { end: number; dimensions?: VideoDimensions } | undefined {
  const header = payload[start];
  if (header === undefined) return undefined;
  let offset = start + 1;
  let dimensions: VideoDimensions | undefined;
  if ((header & 0x10) !== 0) {
    for (let layer = 0; layer <= header >> 5; layer++) {
      if (offset + 4 > payload.length) return undefined;
      const width = (payload[offset] ?? 0) * 256 + (payload[offset + 1] ?? 0);
      const height = (payload[offset + 2] ?? 0) * 256 + (payload[offset + 3] ?? 0);
      if (width > 0 && height > 0) dimensions = { width, height };
      offset += 4;
    }
  }
  if ((header & 0x08) !== 0) {
    const pictures = payload[offset++] ?? 0;
    for (let picture = 0; picture < pictures; picture++) offset += 1 + (((payload[offset] ?? 0) >> 2) & 0x03);
  }
  return dimensions ? { end: offset, dimensions } : { end: offset };
}

const SYNC_CODE = 0x498342;
const SRGB = 7;

/** The first bits of the uncompressed header (VP9 bitstream specification, section 6.2), or undefined for none. */
function readFrameStart(bits: BitReader): { profile: number; isKeyFrame: boolean } | undefined {
  if (bits.read(2) !== 2) return undefined; // frame_marker
  const profile = bits.read(1) + 2 * bits.read(1);
  if (profile === 3) bits.skip(1);
  const showsExistingFrame = bits.readFlag();
  return { profile, isKeyFrame: !showsExistingFrame && !bits.readFlag() };
}

function startsKeyFrame(frame: Uint8Array): boolean {
  return readFrameStart(new BitReader(frame))?.isKeyFrame === true;
}

/** The uncompressed header of a key frame. */
function readFrameHeader(frame: Uint8Array): VideoDimensions | undefined {
  const bits = new BitReader(frame);
  const start = readFrameStart(bits);
  if (!start?.isKeyFrame) return undefined;
  const { profile } = start;
  bits.skip(2); // show_frame, error_resilient_mode
  if (bits.read(24) !== SYNC_CODE) return undefined;
  if (profile >= 2) bits.skip(1); // ten_or_twelve_bit
  const colorSpace = bits.read(3);
  if (colorSpace !== SRGB) bits.skip(profile % 2 === 1 ? 4 : 1);
  else if (profile % 2 === 1) bits.skip(1);
  const width = bits.read(16) + 1;
  const height = bits.read(16) + 1;
  return bits.isExhausted ? undefined : { width, height };
}
