import { Buffer } from 'node:buffer';

import { describe, expect, it } from 'vitest';

import { ParameterSetInserter, RtpPacket, writeRtpPacket } from './index.js';

const SPS = Uint8Array.of(0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x47, 0xfe, 0x88);
const OTHER_SPS = Uint8Array.of(0x67, 0x42, 0xc0, 0x0d, 0xd9, 0x01, 0x41, 0xfb, 0x01, 0x10);
const PPS = Uint8Array.of(0x68, 0xce, 0x38, 0x80);
const KEY_SLICE = Uint8Array.of(0x65, 0x88, 0x84, 1, 2, 3);
const SECOND_KEY_SLICE = Uint8Array.of(0x65, 0x41, 0x22, 4);
const FIRST_KEY_FRAGMENT = Uint8Array.of(0x7c, 0x85, 0x88, 0x84, 1);
const NEXT_KEY_FRAGMENT = Uint8Array.of(0x7c, 0x05, 9, 9);
const SLICE = Uint8Array.of(0x41, 0x9a, 0x24, 4, 5, 6);
const EXACT_RECOVERY_POINT = Uint8Array.of(0x06, 0x06, 0x01, 0xc4, 0x80);

const base64 = (set: Uint8Array) => Buffer.from(set).toString('base64');
const SPROP = { 'sprop-parameter-sets': `${base64(SPS)},${base64(PPS)}` };

const stapA = (...nalUnits: Uint8Array[]) =>
  Uint8Array.from([24, ...nalUnits.flatMap((nalUnit) => [0, nalUnit.length, ...nalUnit])]);

function packet(sequenceNumber: number, timestamp: number, payload: Uint8Array): RtpPacket {
  const header = { payloadType: 96, ssrc: 7, marker: false, sequenceNumber, timestamp };
  const parsed = RtpPacket.parse(writeRtpPacket(header, payload));
  if (parsed === undefined) throw new Error('what was written is no packet');
  return parsed;
}

/** The sequence number, timestamp and payload of each resulting packet. */
const pushed = (inserter: ParameterSetInserter, sequenceNumber: number, timestamp: number, payload: Uint8Array) =>
  inserter.push(packet(sequenceNumber, timestamp, payload)).map(({ bytes }) => {
    const parsed = RtpPacket.parse(bytes);
    return [parsed?.sequenceNumber, parsed?.timestamp, parsed && new Uint8Array(parsed.payload)];
  });

describe('parameter sets of the SDP alone', () => {
  it('are inserted once before each key frame, and the packets after them are renumbered', () => {
    const inserter = new ParameterSetInserter('H264', SPROP);
    expect(pushed(inserter, 0xfffe, 0, KEY_SLICE)).toEqual([
      [0xfffe, 0, SPS],
      [0xffff, 0, PPS],
      [0, 0, KEY_SLICE],
    ]);
    expect(pushed(inserter, 0xffff, 0, SECOND_KEY_SLICE)).toEqual([[1, 0, SECOND_KEY_SLICE]]);
    expect(pushed(inserter, 0, 3_000, SLICE)).toEqual([[2, 3_000, SLICE]]);
    expect(pushed(inserter, 1, 6_000, FIRST_KEY_FRAGMENT).map(([sequenceNumber]) => sequenceNumber)).toEqual([3, 4, 5]);
    expect(pushed(inserter, 2, 6_000, NEXT_KEY_FRAGMENT)).toEqual([[6, 6_000, NEXT_KEY_FRAGMENT]]);
  });

  it('leave a late packet its number', () => {
    const inserter = new ParameterSetInserter('H264', SPROP);
    pushed(inserter, 8, 0, SLICE);
    pushed(inserter, 10, 6_000, KEY_SLICE);
    expect(pushed(inserter, 9, 3_000, SLICE)).toEqual([[9, 3_000, SLICE]]);
    expect(pushed(inserter, 11, 9_000, SLICE)).toEqual([[13, 9_000, SLICE]]);
  });

  it('come before a picture that is no IDR but that a decoder can start with', () => {
    const inserter = new ParameterSetInserter('H264', SPROP);
    const recovered = stapA(EXACT_RECOVERY_POINT, Uint8Array.of(0x61, 0x88, 0x84, 1));
    expect(pushed(inserter, 1, 0, recovered)).toHaveLength(3);
  });

  it('are taken out of the SDP without their start codes', () => {
    const withStartCode = (set: Uint8Array) => base64(Uint8Array.of(0, 0, 0, 1, ...set));
    const fmtp = { 'sprop-parameter-sets': `${withStartCode(SPS)},${withStartCode(PPS)},` };
    const [first] = pushed(new ParameterSetInserter('H264', fmtp), 1, 0, KEY_SLICE);
    expect(first).toEqual([1, 0, SPS]);
  });
});

describe('parameter sets in the stream', () => {
  it('are enough: nothing is inserted, and the packets stay as they are', () => {
    const inserter = new ParameterSetInserter('H264', SPROP);
    for (const [index, payload] of [SPS, PPS, KEY_SLICE, SLICE, stapA(OTHER_SPS, PPS, KEY_SLICE)].entries()) {
      const each = packet(index, Math.max(0, index - 2) * 3_000, payload);
      const [handedBack, ...more] = inserter.push(each);
      expect(handedBack).toBe(each);
      expect(more).toEqual([]);
    }
  });

  it('win over those of the SDP when later key frames lack them', () => {
    const inserter = new ParameterSetInserter('H264', SPROP);
    pushed(inserter, 1, 0, stapA(OTHER_SPS, PPS, KEY_SLICE));
    expect(pushed(inserter, 2, 3_000, KEY_SLICE)[0]).toEqual([2, 3_000, OTHER_SPS]);
  });

  it('are completed where one of them is missing', () => {
    const inserter = new ParameterSetInserter('H264', SPROP);
    pushed(inserter, 1, 0, OTHER_SPS);
    expect(pushed(inserter, 2, 0, KEY_SLICE)).toEqual([
      [2, 0, OTHER_SPS],
      [3, 0, PPS],
      [4, 0, KEY_SLICE],
    ]);
  });

  it('may be incomplete everywhere: then nothing is inserted', () => {
    const inserter = new ParameterSetInserter('H264', { 'sprop-parameter-sets': `${base64(SPS)},` });
    expect(pushed(inserter, 1, 0, KEY_SLICE)).toEqual([[1, 0, KEY_SLICE]]);
  });
});
