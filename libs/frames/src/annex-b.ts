import { concatBytes, type NalFrame } from './frame.js';

const START_CODE = Uint8Array.of(0, 0, 0, 1);

/** Writes NAL units as a byte stream (H.264 annex B). */
export function toAnnexB(nalUnits: readonly Uint8Array[]): Uint8Array {
  return concatBytes(nalUnits.flatMap((nalUnit) => [START_CODE, nalUnit]));
}

/** Writes a frame as a byte stream. A key frame gets its parameter sets in front, so that a decoder can start there. */
export function frameToAnnexB({ isKeyFrame, parameterSets: sets, nalUnits }: NalFrame): Uint8Array {
  return toAnnexB(isKeyFrame && sets ? [...sets.vps, ...sets.sps, ...sets.pps, ...nalUnits] : nalUnits);
}

/** Splits a byte stream at its start codes of three or four bytes. */
export function splitAnnexB(bytes: Uint8Array): Uint8Array[] {
  const nalUnits: Uint8Array[] = [];
  let start = -1;
  const push = (end: number) => {
    if (start < 0) return;
    while (end > start && bytes[end - 1] === 0) end--;
    if (end > start) nalUnits.push(bytes.subarray(start, end));
  };
  for (let i = 0; i + 2 < bytes.length; i++) {
    if (bytes[i] !== 0 || bytes[i + 1] !== 0 || bytes[i + 2] !== 1) continue;
    push(i);
    start = i + 3;
    i += 2;
  }
  push(bytes.length);
  return nalUnits;
}
