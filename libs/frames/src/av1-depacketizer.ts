import { type Av1Sequence, isAv1KeyFrame, OBU_SEQUENCE_HEADER, parseAv1Sequence, readLeb128 } from './av1.js';
import { concatBytes, type Depacketizer, type Frame, MAX_FRAME_BYTES, type TimedPayload } from './frame.js';

const OBU_TEMPORAL_DELIMITER = 2;
const OBU_TILE_LIST = 8;
const OBU_PADDING = 15;
const NOT_STORED: readonly number[] = [OBU_TEMPORAL_DELIMITER, OBU_TILE_LIST, OBU_PADDING];
const HAS_EXTENSION = 0x04;
const HAS_SIZE = 0x02;
const MAX_OBUS = 4_096;

interface TemporalUnit {
  timestamp: number;
  /** Each with its size. */
  obus: Uint8Array[];
  bytes: number;
  hasSequenceHeader: boolean;
  isKeyFrame: boolean;
  isBroken: boolean;
}

/** The RTP payload format of AV1 (version 1.0 of the Alliance for Open Media). */
export class Av1Depacketizer implements Depacketizer {
  #unit: TemporalUnit | undefined;
  /** The beginning of an OBU that goes on in the next packet. */
  #fragments: Uint8Array[] | undefined;
  #fragmentBytes = 0;
  #lost = false;
  #needsKeyFrame = false;

  push({ payload, marker, timestamp, lostBefore }: TimedPayload): Frame[] {
    const frames: Frame[] = [];
    if (lostBefore) this.#noteLoss();
    if (this.#unit !== undefined && this.#unit.timestamp !== timestamp) this.#endUnit(frames);
    this.#unit ??= {
      ...{ timestamp, obus: [], bytes: 0, hasSequenceHeader: false, isKeyFrame: false },
      isBroken: lostBefore && ((payload[0] ?? 0) & 0x80) !== 0,
    };
    this.#readPayload(this.#unit, payload);
    if (marker) this.#endUnit(frames);
    return frames;
  }

  /** A temporal unit without its marker may lack its end. */
  flush(): Frame[] {
    if (this.#unit !== undefined) this.#noteLoss();
    this.#unit = undefined;
    return [];
  }

  #readPayload(unit: TemporalUnit, payload: Uint8Array): void {
    const aggregation = payload[0] ?? 0;
    const continues = (aggregation & 0x80) !== 0;
    const isContinued = (aggregation & 0x40) !== 0;
    const count = (aggregation >> 4) & 0x03;
    if (continues !== (this.#fragments !== undefined)) unit.isBroken = true;
    if (!continues) this.#dropFragments();
    let offset = 1;
    for (let index = 0; offset < payload.length && index < MAX_OBUS; index++) {
      let size = payload.length - offset;
      if (count === 0 || index < count - 1) {
        const length = readLeb128(payload, offset);
        if (length === undefined || length.end + length.value > payload.length) {
          unit.isBroken = true;
          return;
        }
        offset = length.end;
        size = length.value;
      }
      const element = payload.subarray(offset, offset + size);
      offset += size;
      const isLast = offset >= payload.length;
      this.#takeElement(unit, element, isLast && isContinued);
    }
  }

  #takeElement(unit: TemporalUnit, element: Uint8Array, isContinued: boolean): void {
    this.#fragmentBytes += element.length;
    const fragments = (this.#fragments ??= []);
    fragments.push(element);
    if (unit.bytes + this.#fragmentBytes > MAX_FRAME_BYTES || fragments.length > MAX_OBUS) {
      unit.isBroken = true;
      this.#dropFragments();
      return;
    }
    if (isContinued) return;
    this.#dropFragments();
    this.#addObu(unit, concatBytes(fragments));
  }

  #addObu(unit: TemporalUnit, obu: Uint8Array): void {
    const read = readObu(obu);
    if (read === undefined) {
      unit.isBroken = true;
      return;
    }
    const { type, header, body } = read;
    if (NOT_STORED.includes(type) || unit.isBroken || unit.obus.length >= MAX_OBUS) return;
    if (type === OBU_SEQUENCE_HEADER) unit.hasSequenceHeader = true;
    if (unit.hasSequenceHeader && isAv1KeyFrame(type, body)) unit.isKeyFrame = true;
    const sized = concatBytes([header, leb128(body.length), body]);
    unit.obus.push(sized);
    unit.bytes += sized.length;
  }

  #noteLoss(): void {
    this.#lost = true;
    this.#needsKeyFrame = true;
    this.#dropFragments();
    if (this.#unit !== undefined) this.#unit.isBroken = true;
  }

  #dropFragments(): void {
    this.#fragments = undefined;
    this.#fragmentBytes = 0;
  }

  #endUnit(frames: Frame[]): void {
    const { timestamp, obus, isKeyFrame, isBroken } = this.#unit!;
    this.#unit = undefined;
    if (isBroken || this.#fragments !== undefined) {
      this.#noteLoss();
      return;
    }
    if (obus.length === 0) return;
    if (isKeyFrame) this.#needsKeyFrame = false;
    frames.push({
      ...{ kind: 'video', codec: 'AV1', rtpTimestamp: timestamp, lost: this.#lost },
      ...{ complete: !this.#needsKeyFrame, isKeyFrame, data: concatBytes(obus) },
    });
    this.#lost = false;
  }
}

/** Splits an OBU; `header` says that a size follows. */
function readObu(obu: Uint8Array): { type: number; header: Uint8Array; body: Uint8Array } | undefined {
  const [first] = obu;
  if (first === undefined || (first & 0x80) !== 0) return undefined;
  const headerBytes = (first & HAS_EXTENSION) !== 0 ? 2 : 1;
  if (obu.length < headerBytes) return undefined;
  const header = Uint8Array.from(obu.subarray(0, headerBytes));
  header[0] = first | HAS_SIZE;
  const type = (first >> 3) & 0x0f;
  if ((first & HAS_SIZE) === 0) return { type, header, body: obu.subarray(headerBytes) };
  const size = readLeb128(obu, headerBytes);
  if (size === undefined || size.end + size.value > obu.length) return undefined;
  return { type, header, body: obu.subarray(size.end, size.end + size.value) };
}

function leb128(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  do {
    bytes.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    rest = Math.floor(rest / 128);
  } while (rest > 0);
  return Uint8Array.from(bytes);
}

/** The sequence header of a key frame that was assembled, as a whole OBU and read. */
export function av1SequenceIn(unit: Uint8Array): { obu: Uint8Array; sequence: Av1Sequence } | undefined {
  for (let offset = 0; offset < unit.length;) {
    const headerBytes = (unit[offset]! & HAS_EXTENSION) !== 0 ? 2 : 1;
    const size = readLeb128(unit, offset + headerBytes);
    if (size === undefined) return undefined;
    const end = size.end + size.value;
    if (((unit[offset]! >> 3) & 0x0f) === OBU_SEQUENCE_HEADER) {
      const sequence = parseAv1Sequence(unit.subarray(size.end, end));
      return sequence && { obu: unit.subarray(offset, end), sequence };
    }
    offset = end;
  }
  return undefined;
}
