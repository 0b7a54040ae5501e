import { Buffer } from 'node:buffer';

import { BitReader, unescapeNalUnit } from './bit-reader.js';
import { type H264Sps, parseH264Sps } from './h264-sps.js';
import { type H265Sps, parseH265Sps } from './h265-sps.js';

/**
 * The parameter sets that decode a key frame; its first slice refers to `sps[0]`. The object stays the same as long as
 * its content does, so a reader detects a change by comparing references. `vps` is empty for H.264.
 */
export interface ParameterSets {
  vps: readonly Uint8Array[];
  sps: readonly Uint8Array[];
  pps: readonly Uint8Array[];
}

export type NalCodec = 'H264' | 'H265';

export const isNalCodec = (codec: string): codec is NalCodec => codec === 'H264' || codec === 'H265';

/** What a NAL unit is for, as far as assembling and packaging need to know. */
export type NalRole = 'vps' | 'sps' | 'pps' | 'slice' | 'key-slice' | 'sei' | 'delimiter' | 'other';

export function nalRole(codec: NalCodec, nalUnit: Uint8Array): NalRole {
  if (nalUnit.length === 0) return 'other';
  return codec === 'H264' ? h264Role(nalUnit[0]! & 0x1f) : h265Role((nalUnit[0]! >> 1) & 0x3f);
}

function h264Role(type: number): NalRole {
  if (type === 5) return 'key-slice';
  if (type >= 1 && type <= 4) return 'slice';
  if (type === 6) return 'sei';
  if (type === 7) return 'sps';
  if (type === 8) return 'pps';
  return type >= 9 && type <= 12 ? 'delimiter' : 'other';
}

function h265Role(type: number): NalRole {
  if (type >= 16 && type <= 21) return 'key-slice';
  if (type < 16) return 'slice';
  if (type === 32) return 'vps';
  if (type === 33) return 'sps';
  if (type === 34) return 'pps';
  if (type === 39 || type === 40) return 'sei';
  return type >= 35 && type <= 38 ? 'delimiter' : 'other';
}

/** Whether this slice is the first of its picture (H.264 §7.4.1.2.4). */
export function isFirstSlice(codec: NalCodec, nalUnit: Uint8Array): boolean {
  const header = codec === 'H264' ? nalUnit[1] : nalUnit[2];
  return header !== undefined && (header & 0x80) !== 0;
}

/**
 * Whether the NAL unit is a recovery point SEI (type 6) that promises an exact picture at once. It marks the entry
 * point of an open GOP or of an intra refresh.
 */
export function isExactRecoveryPoint(nalUnit: Uint8Array): boolean {
  const bytes = unescapeNalUnit(nalUnit.subarray(1, 256));
  let offset = 0;
  while (offset + 2 < bytes.length) {
    const type = bytes[offset]!;
    const size = bytes[offset + 1]!;
    if (type === 255 || size === 255) return false;
    if (type === 6) return new BitReader(bytes.subarray(offset + 2)).unsignedExpGolomb() === 0;
    offset += 2 + size;
  }
  return false;
}

const MAX_SETS_OF_A_KIND = 64;

/** Keeps the newest parameter set of each id, from the SDP and from the stream. */
export class ParameterSetStore {
  readonly #codec: NalCodec;
  readonly #vps = new Map<number, Uint8Array>();
  readonly #sps = new Map<number, Uint8Array>();
  readonly #pps = new Map<number, Uint8Array>();
  #current: ParameterSets | undefined;

  constructor(codec: NalCodec, fmtp: Readonly<Record<string, unknown>>) {
    this.#codec = codec;
    for (const key of ['sprop-parameter-sets', 'sprop-vps', 'sprop-sps', 'sprop-pps']) {
      const value = fmtp[key];
      if (typeof value !== 'string') continue;
      for (const set of value.split(',')) this.add(withoutStartCode(Buffer.from(set.trim(), 'base64')));
    }
  }

  /**
   * The sets with which a decoder can start before any picture has shown which ones it needs; undefined while one is
   * missing.
   */
  get anyComplete(): ParameterSets | undefined {
    for (const pps of this.#pps.values()) {
      const spsId = this.#idsOf(pps, 'pps')?.parent;
      const sps = spsId === undefined ? undefined : this.#sps.get(spsId);
      if (sps !== undefined && parseSps(this.#codec, sps) !== undefined) return this.#setsWith(sps, spsId);
    }
    return undefined;
  }

  /**
   * Returns whether the NAL unit was a parameter set. A malformed set also counts, so that it is removed from the
   * stream.
   */
  add(nalUnit: Uint8Array): boolean {
    const role = nalRole(this.#codec, nalUnit);
    if (role !== 'vps' && role !== 'sps' && role !== 'pps') return false;
    const ids = this.#idsOf(nalUnit, role);
    if (ids === undefined || ids.own >= MAX_SETS_OF_A_KIND) return true;
    const sets = role === 'vps' ? this.#vps : role === 'sps' ? this.#sps : this.#pps;
    const known = sets.get(ids.own);
    if (known === undefined || !equalBytes(known, nalUnit)) sets.set(ids.own, new Uint8Array(nalUnit));
    return true;
  }

  /** The sets for a key frame with this first slice; undefined while one of the sets that it needs is unknown. */
  forSlice(slice: Uint8Array): ParameterSets | undefined {
    const reader = new BitReader(unescapeNalUnit(slice.subarray(this.#codec === 'H264' ? 1 : 2, 24)));
    if (this.#codec === 'H264') {
      reader.unsignedExpGolomb();
      reader.unsignedExpGolomb();
    } else reader.skip(2);
    const pps = this.#pps.get(reader.unsignedExpGolomb());
    const spsId = pps && this.#idsOf(pps, 'pps')?.parent;
    const sps = spsId === undefined ? undefined : this.#sps.get(spsId);
    const next = sps && this.#setsWith(sps, spsId);
    if (next === undefined) return undefined;
    if (this.#current === undefined || !equalSets(this.#current, next)) this.#current = next;
    return this.#current;
  }

  #setsWith(sps: Uint8Array, spsId: number | undefined): ParameterSets | undefined {
    if (this.#codec === 'H265' && this.#vps.size === 0) return undefined;
    return {
      vps: [...this.#vps.values()],
      sps: [sps],
      pps: [...this.#pps.values()].filter((set) => this.#idsOf(set, 'pps')?.parent === spsId),
    };
  }

  #idsOf(nalUnit: Uint8Array, role: 'vps' | 'sps' | 'pps'): { own: number; parent: number } | undefined {
    const bytes = unescapeNalUnit(nalUnit.subarray(this.#codec === 'H264' ? 1 : 2, 128));
    const reader = new BitReader(bytes);
    if (role === 'vps') return { own: reader.bits(4), parent: 0 };
    if (role === 'sps' && this.#codec === 'H264') reader.skip(24);
    if (role === 'sps' && this.#codec === 'H265') skipH265ProfileTierLevel(reader);
    const own = reader.unsignedExpGolomb();
    const parent = role === 'pps' ? reader.unsignedExpGolomb() : 0;
    return reader.exhausted ? undefined : { own, parent };
  }
}

/** Undefined if the set isn't valid. */
export const parseSps = (codec: NalCodec, sps: Uint8Array): H264Sps | H265Sps | undefined =>
  codec === 'H264' ? parseH264Sps(sps) : parseH265Sps(sps);

/** Some devices write the start code into the SDP. */
function withoutStartCode(set: Uint8Array): Uint8Array {
  const zeros = set.findIndex((byte) => byte !== 0);
  return new Uint8Array(zeros >= 2 && set[zeros] === 1 ? set.subarray(zeros + 1) : set);
}

function skipH265ProfileTierLevel(reader: BitReader): void {
  reader.skip(4);
  const subLayers = reader.bits(3);
  reader.skip(1 + 96);
  if (subLayers === 0) return;
  const present: number[] = [];
  for (let i = 0; i < subLayers; i++) present.push(reader.bit() * 88 + reader.bit() * 8);
  reader.skip(2 * (8 - subLayers) + present.reduce((sum, bits) => sum + bits, 0));
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}

function equalSets(a: ParameterSets, b: ParameterSets): boolean {
  return (['vps', 'sps', 'pps'] as const).every(
    (kind) => a[kind].length === b[kind].length && a[kind].every((set, index) => equalBytes(set, b[kind][index]!)),
  );
}
