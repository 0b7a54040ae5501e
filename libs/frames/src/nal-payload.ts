import { concatBytes } from './frame.js';
import type { NalCodec } from './parameter-sets.js';

/** A NAL unit that begins in an RTP payload: whole, or as much of it as the first of its fragments holds. */
export interface BegunNalUnit {
  nalUnit: Uint8Array;
  isWhole: boolean;
}

const STAP_A = 24;
const FU_A = 28;
const AGGREGATION = 48;
const FRAGMENTATION = 49;
const BEGINS = 0x80;

/** RFC 6184 §5 in the modes 0 and 1, RFC 7798 §4.4 without decoding order numbers. A truncated aggregate gives what is whole. */
export function nalUnitsBegunIn(codec: NalCodec, payload: Uint8Array): BegunNalUnit[] {
  const first = payload[0];
  if (first === undefined) return [];
  if (codec === 'H264') {
    const type = first & 0x1f;
    if (type === STAP_A) return aggregated(payload, 1);
    if (type !== FU_A) return type >= 1 && type < STAP_A ? [{ nalUnit: payload, isWhole: true }] : [];
    const fragment = payload[1] ?? 0;
    if ((fragment & BEGINS) === 0) return [];
    return begun(Uint8Array.of((first & 0xe0) | (fragment & 0x1f)), payload.subarray(2));
  }
  if (payload.length < 3) return [];
  const type = (first >> 1) & 0x3f;
  if (type === AGGREGATION) return aggregated(payload, 2);
  if (type !== FRAGMENTATION) return type < AGGREGATION ? [{ nalUnit: payload, isWhole: true }] : [];
  const fragment = payload[2]!;
  if ((fragment & BEGINS) === 0) return [];
  return begun(Uint8Array.of((first & 0x81) | ((fragment & 0x3f) << 1), payload[1]!), payload.subarray(3));
}

const begun = (header: Uint8Array, data: Uint8Array): BegunNalUnit[] => [
  { nalUnit: concatBytes([header, data]), isWhole: false },
];

function aggregated(payload: Uint8Array, headerBytes: number): BegunNalUnit[] {
  const nalUnits: BegunNalUnit[] = [];
  for (let offset = headerBytes; offset + 2 < payload.length;) {
    const end = offset + 2 + ((payload[offset]! << 8) | payload[offset + 1]!);
    if (end > payload.length) break;
    nalUnits.push({ nalUnit: payload.subarray(offset + 2, end), isWhole: true });
    offset = end;
  }
  return nalUnits;
}
