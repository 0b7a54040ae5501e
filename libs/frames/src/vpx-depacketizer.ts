import { concatBytes, type Depacketizer, type Frame, MAX_FRAME_BYTES, type TimedPayload } from './frame.js';

interface VpxPayload {
  data: Uint8Array;
  startsFrame: boolean;
  isKeyFrame: boolean;
}

interface VpxPicture {
  timestamp: number;
  parts: Uint8Array[];
  bytes: number;
  isKeyFrame: boolean;
  isBroken: boolean;
}

/** RFC 7741 (VP8) and RFC 9628 (VP9; the spatial layers of a picture are joined in their order). */
export class VpxDepacketizer implements Depacketizer {
  readonly #codec: 'VP8' | 'VP9';
  #picture: VpxPicture | undefined;
  #lost = false;
  #needsKeyFrame = false;

  constructor(codec: 'VP8' | 'VP9') {
    this.#codec = codec;
  }

  push({ payload, marker, timestamp, lostBefore }: TimedPayload): Frame[] {
    const frames: Frame[] = [];
    if (lostBefore) this.#noteLoss();
    if (this.#picture !== undefined && this.#picture.timestamp !== timestamp) this.#endPicture(frames);
    const read = this.#codec === 'VP8' ? readVp8Payload(payload) : readVp9Payload(payload);
    if (this.#picture === undefined) {
      const isBroken = read === undefined || !read.startsFrame;
      this.#picture = { timestamp, parts: [], bytes: 0, isKeyFrame: read?.isKeyFrame ?? false, isBroken };
    }
    const picture = this.#picture;
    if (read === undefined || picture.bytes + read.data.length > MAX_FRAME_BYTES) {
      picture.isBroken = true;
      picture.parts = [];
    } else {
      picture.parts.push(read.data);
      picture.bytes += read.data.length;
    }
    if (marker) this.#endPicture(frames);
    return frames;
  }

  flush(): Frame[] {
    const frames: Frame[] = [];
    if (this.#picture !== undefined) this.#endPicture(frames);
    return frames;
  }

  #noteLoss(): void {
    this.#lost = true;
    this.#needsKeyFrame = true;
    if (this.#picture !== undefined) this.#picture.isBroken = true;
  }

  #endPicture(frames: Frame[]): void {
    const picture = this.#picture!;
    this.#picture = undefined;
    if (picture.isBroken) {
      this.#noteLoss();
      return;
    }
    if (picture.isKeyFrame) this.#needsKeyFrame = false;
    frames.push({
      kind: 'video',
      codec: this.#codec,
      rtpTimestamp: picture.timestamp,
      lost: this.#lost,
      complete: !this.#needsKeyFrame,
      isKeyFrame: picture.isKeyFrame,
      data: concatBytes(picture.parts),
    });
    this.#lost = false;
  }
}

function readVp8Payload(payload: Uint8Array): VpxPayload | undefined {
  const first = payload[0] ?? 0;
  let offset = 1;
  if (first & 0x80) {
    const extension = payload[offset++] ?? 0;
    if (extension & 0x80) offset += (payload[offset] ?? 0) & 0x80 ? 2 : 1;
    if (extension & 0x40) offset += 1;
    if (extension & 0x30) offset += 1;
  }
  if (offset >= payload.length) return undefined;
  const data = payload.subarray(offset);
  const startsFrame = (first & 0x10) !== 0 && (first & 0x07) === 0;
  return { data, startsFrame, isKeyFrame: startsFrame && (data[0]! & 1) === 0 };
}

function readVp9Payload(payload: Uint8Array): VpxPayload | undefined {
  const first = payload[0] ?? 0;
  const [hasPictureId, isInterPredicted, hasLayers] = [first & 0x80, first & 0x40, first & 0x20];
  const [isFlexible, startsLayer, hasScalability] = [first & 0x10, first & 0x08, first & 0x02];
  let offset = 1;
  let spatialLayer = 0;
  if (hasPictureId) offset += (payload[offset] ?? 0) & 0x80 ? 2 : 1;
  if (hasLayers) {
    spatialLayer = ((payload[offset++] ?? 0) >> 1) & 0x07;
    if (!isFlexible) offset++;
  }
  if (isFlexible && isInterPredicted) {
    for (let i = 0; i < 3; i++) if (!((payload[offset++] ?? 0) & 1)) break;
  }
  if (hasScalability) offset += scalabilityStructureBytes(payload.subarray(offset));
  if (offset >= payload.length) return undefined;
  const startsFrame = startsLayer !== 0 && spatialLayer === 0;
  return { data: payload.subarray(offset), startsFrame, isKeyFrame: startsFrame && !isInterPredicted };
}

function scalabilityStructureBytes(structure: Uint8Array): number {
  const first = structure[0] ?? 0;
  let offset = 1;
  if (first & 0x10) offset += ((first >> 5) + 1) * 4;
  if (first & 0x08) {
    const pictures = structure[offset++] ?? 0;
    for (let i = 0; i < pictures; i++) offset += 1 + (((structure[offset] ?? 0) >> 2) & 0x03);
  }
  return offset;
}
