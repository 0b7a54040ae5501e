import { uint16At } from './big-endian.js';
import { concatBytes } from './frame.js';
import { type FrameHint, keyFrameHint, NO_KEY_FRAME, type VideoDimensions } from './frame-hint.js';
import { type NalCodec, nalRole, parseSps } from './parameter-sets.js';

/** A NAL unit that starts in an RTP payload: all of it, or the first bytes if it is split into fragments. */
export interface BegunNalUnit {
  nalUnit: Uint8Array;
  isWhole: boolean;
}

const STAP_A = 24;
const FU_A = 28;
const AGGREGATION = 48;
const FRAGMENTATION = 49;
const BEGINS = 0x80;
const FORBIDDEN_ZERO = 0x80;
/** More bytes than any reader needs of a slice header or of a recovery point. */
const BEGINNING_BYTES = 256;

const NONE: readonly BegunNalUnit[] = [];

/**
 * RFC 6184 §5 in modes 0 and 1, RFC 7798 §4.4 without decoding order numbers. Of a truncated aggregate, the complete
 * NAL units are returned.
 */
export function nalUnitsBegunIn(codec: NalCodec, payload: Uint8Array): readonly BegunNalUnit[] {
  const first = payload[0];
  if (first === undefined || (first & FORBIDDEN_ZERO) !== 0) return NONE;
  if (codec === 'H264') {
    const type = first & 0x1f;
    if (type === STAP_A) return aggregated(payload, 1);
    if (type !== FU_A) return type >= 1 && type < STAP_A ? [{ nalUnit: payload, isWhole: true }] : NONE;
    const fragment = payload[1] ?? 0;
    if ((fragment & BEGINS) === 0) return NONE;
    return begun(Uint8Array.of((first & 0xe0) | (fragment & 0x1f)), payload.subarray(2));
  }
  if (payload.length < 3) return NONE;
  const type = (first >> 1) & 0x3f;
  if (type === AGGREGATION) return aggregated(payload, 2);
  if (type !== FRAGMENTATION) return type < AGGREGATION ? [{ nalUnit: payload, isWhole: true }] : NONE;
  const fragment = payload[2]!;
  if ((fragment & BEGINS) === 0) return NONE;
  return begun(Uint8Array.of((first & 0x81) | ((fragment & 0x3f) << 1), payload[1]!), payload.subarray(3));
}

const begun = (header: Uint8Array, data: Uint8Array): BegunNalUnit[] => [
  { nalUnit: concatBytes([header, data.subarray(0, BEGINNING_BYTES)]), isWhole: false },
];

function aggregated(payload: Uint8Array, headerBytes: number): BegunNalUnit[] {
  const nalUnits: BegunNalUnit[] = [];
  for (let offset = headerBytes; offset + 2 < payload.length;) {
    const end = offset + 2 + uint16At(payload, offset);
    if (end > payload.length) break;
    nalUnits.push({ nalUnit: payload.subarray(offset + 2, end), isWhole: true });
    offset = end;
  }
  return nalUnits;
}

/** A key frame is recognised by its sequence parameter set or by a slice that needs no other picture. */
export function readNalHint(codec: NalCodec, nalUnits: readonly BegunNalUnit[]): FrameHint {
  let isKeyFrame = false;
  let dimensions: VideoDimensions | undefined;
  for (const { nalUnit, isWhole } of nalUnits) {
    const role = nalRole(codec, nalUnit);
    if (role === 'key-slice' || role === 'sps') isKeyFrame = true;
    const sps = role === 'sps' && isWhole ? parseSps(codec, nalUnit) : undefined;
    if (sps !== undefined) dimensions = { width: sps.width, height: sps.height };
  }
  return isKeyFrame ? keyFrameHint(dimensions) : NO_KEY_FRAME;
}
