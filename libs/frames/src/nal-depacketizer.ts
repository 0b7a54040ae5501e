import { concatBytes, type Depacketizer, type Frame, MAX_FRAME_BYTES, type TimedPayload } from './frame.js';
import {
  isExactRecoveryPoint,
  isFirstSlice,
  type NalCodec,
  nalRole,
  type ParameterSets,
  ParameterSetStore,
} from './parameter-sets.js';

interface AccessUnit {
  timestamp: number;
  nalUnits: Uint8Array[];
  bytes: number;
  firstSlice: Uint8Array | undefined;
  hasKeySlice: boolean;
  isRecoveryPoint: boolean;
  /** A part of this picture is missing. */
  isBroken: boolean;
  /** A gap comes right before it, so its start may be missing. */
  isAfterGap: boolean;
}

/**
 * RFC 6184 (single NAL units, STAP-A, FU-A: packetization modes 0 and 1) and RFC 7798 (single NAL units, AP, FU,
 * without decoding order numbers). An access unit ends with the marker bit or with the next timestamp. Some senders set
 * the marker on every slice: the second slice shows this, and from then on only the timestamp counts.
 */
export class NalDepacketizer implements Depacketizer {
  readonly #codec: NalCodec;
  readonly #store: ParameterSetStore;
  #unit: AccessUnit | undefined;
  #fragments: Uint8Array[] | undefined;
  #parameterSets: ParameterSets | undefined;
  #lost = false;
  #needsKeyFrame = false;
  #trustsMarker = true;
  #hasMarkers = false;
  #lastTimestamp: number | undefined;

  constructor(codec: NalCodec, fmtp: Readonly<Record<string, unknown>>) {
    this.#codec = codec;
    this.#store = new ParameterSetStore(codec, fmtp);
  }

  push({ payload, marker, timestamp, lostBefore }: TimedPayload): Frame[] {
    const frames: Frame[] = [];
    if (lostBefore) this.#noteLoss();
    if (this.#unit !== undefined && this.#unit.timestamp !== timestamp) this.#endUnit(frames);
    this.#unit ??= newAccessUnit(timestamp, lostBefore);
    if (this.#codec === 'H264') this.#readH264(this.#unit, payload);
    else this.#readH265(this.#unit, payload);
    if (marker) {
      this.#hasMarkers = true;
      if (this.#trustsMarker) this.#endUnit(frames);
    }
    return frames;
  }

  /** The last picture of a sender that ends pictures with the marker may lack slices if it has none. */
  flush(): Frame[] {
    const frames: Frame[] = [];
    if (this.#unit !== undefined) {
      if (this.#hasMarkers && this.#trustsMarker) this.#noteLoss();
      this.#endUnit(frames);
    }
    this.#lastTimestamp = undefined;
    return frames;
  }

  #noteLoss(): void {
    this.#lost = true;
    this.#needsKeyFrame = true;
    this.#fragments = undefined;
    if (this.#unit !== undefined) this.#unit.isBroken = true;
  }

  #readH264(unit: AccessUnit, payload: Uint8Array): void {
    const type = payload[0]! & 0x1f;
    if (type >= 1 && type <= 23) this.#addNalUnit(unit, payload);
    else if (type === 24) this.#readAggregate(unit, payload, 1);
    else if (type === 28 && payload.length > 2) {
      this.#readFragment(unit, payload[1]!, payload.subarray(2), () =>
        Uint8Array.of((payload[0]! & 0xe0) | (payload[1]! & 0x1f)),
      );
    }
  }

  #readH265(unit: AccessUnit, payload: Uint8Array): void {
    if (payload.length < 3) return;
    const type = (payload[0]! >> 1) & 0x3f;
    if (type < 48) this.#addNalUnit(unit, payload);
    else if (type === 48) this.#readAggregate(unit, payload, 2);
    else if (type === 49) {
      this.#readFragment(unit, payload[2]!, payload.subarray(3), () =>
        Uint8Array.of((payload[0]! & 0x81) | ((payload[2]! & 0x3f) << 1), payload[1]!),
      );
    }
  }

  #readAggregate(unit: AccessUnit, payload: Uint8Array, headerBytes: number): void {
    let offset = headerBytes;
    while (offset + 2 < payload.length) {
      const end = offset + 2 + ((payload[offset]! << 8) | payload[offset + 1]!);
      if (end > payload.length) {
        unit.isBroken = true;
        return;
      }
      this.#addNalUnit(unit, payload.subarray(offset + 2, end));
      offset = end;
    }
  }

  #readFragment(unit: AccessUnit, fragmentHeader: number, data: Uint8Array, nalHeader: () => Uint8Array): void {
    if (fragmentHeader & 0x80) this.#fragments = [nalHeader()];
    if (this.#fragments === undefined) {
      unit.isBroken = true;
      return;
    }
    this.#fragments.push(data);
    this.#grow(unit, data.length);
    if (fragmentHeader & 0x40) {
      const nalUnit = concatBytes(this.#fragments);
      this.#fragments = undefined;
      unit.bytes -= nalUnit.length;
      this.#addNalUnit(unit, nalUnit);
    }
  }

  #addNalUnit(unit: AccessUnit, nalUnit: Uint8Array): void {
    if (nalUnit.length < (this.#codec === 'H264' ? 1 : 2)) return;
    const role = nalRole(this.#codec, nalUnit);
    switch (role) {
      case 'vps':
      case 'sps':
      case 'pps':
        this.#store.add(nalUnit);
        return;
      case 'delimiter':
        return;
      case 'slice':
      case 'key-slice':
        if (unit.firstSlice === undefined) this.#beginPicture(unit, nalUnit);
        if (role === 'key-slice') unit.hasKeySlice = true;
        break;
      case 'sei':
        if (this.#codec === 'H264' && isExactRecoveryPoint(nalUnit)) unit.isRecoveryPoint = true;
        break;
      case 'other':
        break;
    }
    this.#grow(unit, nalUnit.length);
    if (!unit.isBroken) unit.nalUnits.push(nalUnit);
  }

  #beginPicture(unit: AccessUnit, slice: Uint8Array): void {
    unit.firstSlice = slice;
    if (isFirstSlice(this.#codec, slice)) return;
    if (unit.isAfterGap) unit.isBroken = true;
    else if (unit.timestamp === this.#lastTimestamp) {
      this.#trustsMarker = false;
      unit.isBroken = true;
    }
  }

  #grow(unit: AccessUnit, bytes: number): void {
    unit.bytes += bytes;
    if (unit.bytes <= MAX_FRAME_BYTES && unit.nalUnits.length < 4096) return;
    unit.isBroken = true;
    unit.nalUnits = [];
    this.#fragments = undefined;
  }

  #endUnit(frames: Frame[]): void {
    const unit = this.#unit!;
    this.#unit = undefined;
    if (this.#fragments !== undefined) unit.isBroken = true;
    this.#fragments = undefined;
    if (unit.isBroken) {
      this.#noteLoss();
      return;
    }
    if (unit.firstSlice === undefined) return;
    this.#lastTimestamp = unit.timestamp;
    const isKeyFrame = unit.hasKeySlice || unit.isRecoveryPoint;
    if (isKeyFrame) {
      this.#parameterSets = this.#store.forSlice(unit.firstSlice);
      this.#needsKeyFrame = false;
    }
    frames.push({
      kind: 'video',
      codec: this.#codec,
      rtpTimestamp: unit.timestamp,
      lost: this.#lost,
      complete: !this.#needsKeyFrame,
      isKeyFrame,
      nalUnits: unit.nalUnits,
      parameterSets: this.#parameterSets,
    });
    this.#lost = false;
  }
}

const newAccessUnit = (timestamp: number, isAfterGap: boolean): AccessUnit => ({
  timestamp,
  nalUnits: [],
  bytes: 0,
  firstSlice: undefined,
  hasKeySlice: false,
  isRecoveryPoint: false,
  isBroken: false,
  isAfterGap,
});
