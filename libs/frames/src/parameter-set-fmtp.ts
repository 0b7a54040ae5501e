import { Buffer } from 'node:buffer';

import { parseH264Sps } from './h264-sps.js';
import { type NalCodec, type ParameterSets, ParameterSetStore } from './parameter-sets.js';

type Fmtp = Readonly<Record<string, string>>;

/** Parameters that only repeat the content of the parameter sets and may contradict it. */
const TOLD_BY_SETS: Readonly<Record<NalCodec, readonly string[]>> = {
  H264: ['sprop-parameter-sets'],
  H265: [
    ...['sprop-vps', 'sprop-sps', 'sprop-pps', 'profile-space', 'profile-id', 'tier-flag', 'level-id'],
    ...['interop-constraints', 'profile-compatibility-indicator'],
  ],
};

/**
 * The parameter sets in a description, if they are all that a decoder needs. Some sources send incomplete or empty
 * sets.
 */
export const parameterSetsOf = (codec: NalCodec, fmtp: Fmtp): ParameterSets | undefined =>
  new ParameterSetStore(codec, fmtp).anyComplete;

/**
 * Returns the description with these sets, and the profile that they state, instead of its own. If the sets are
 * unknown, the result has none.
 */
export function withParameterSets(
  codec: NalCodec,
  fmtp: Fmtp,
  sets: ParameterSets | undefined,
): Record<string, string> {
  const others = Object.fromEntries(Object.entries(fmtp).filter(([name]) => !TOLD_BY_SETS[codec].includes(name)));
  if (sets === undefined) return others;
  const base64 = (units: readonly Uint8Array[]) => units.map((unit) => Buffer.from(unit).toString('base64')).join(',');
  switch (codec) {
    case 'H264': {
      const [sps] = sets.sps;
      const read = sps && parseH264Sps(sps);
      return {
        ...others,
        'sprop-parameter-sets': base64([...sets.sps, ...sets.pps]),
        ...(read && { 'profile-level-id': read.profileLevelId }),
      };
    }
    case 'H265':
      return {
        ...others,
        'sprop-vps': base64(sets.vps),
        'sprop-sps': base64(sets.sps),
        'sprop-pps': base64(sets.pps),
      };
    default:
      return codec satisfies never;
  }
}
