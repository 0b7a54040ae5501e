import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

import { readAv1 } from './av1.js';
import type { FrameHint } from './frame-hint.js';
import { parseH264Sps } from './h264-sps.js';
import { nalUnitsBegunIn, readNalHint } from './nal-payload.js';
import { RtpPacket } from './rtp-packet.js';
import { readVp8 } from './vp8.js';
import { readVp9 } from './vp9.js';

const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));

const payloads = (codec: string) =>
  readFileSync(new URL(`./fixtures/${codec}.rtp.hex`, import.meta.url), 'utf8')
    .trim()
    .split('\n')
    .map((line) => RtpPacket.parse(bytes(line))?.payload ?? new Uint8Array());

const readH264 = (payload: Uint8Array) => readNalHint('H264', nalUnitsBegunIn('H264', payload));

const READERS: [string, (payload: Uint8Array) => FrameHint][] = [
  ['h264', readH264],
  ['vp8', readVp8],
  ['vp9', readVp9],
  ['av1', readAv1],
];

describe('an H.264 sequence parameter set', () => {
  it.each([
    ['constrained baseline 1280x720', '6742c01fd9005005bb011000000300100000030020f1832480', 1280, 720, '42c01f'],
    ['main 854x480, cropped', '674d4016eca06c1ef3780880000003008000000301078b16cb', 854, 480, '4d4016'],
    ['high 1920x1080, cropped', '67640028acd940780227e5c044000003000400000300083c60c658', 1920, 1080, '640028'],
    ['4:2:2 640x362', '677a0016bcd940a02ff9f011000003000100000300020f162d96', 640, 362, '7a0016'],
    ['4:4:4 178x98', '67f4000a919b2861fc7c7e022000000300200000030041e244b2c0', 178, 98, 'f4000a'],
    ['interlaced 720x576', '6764001eacd940b424d8088000000300800000190f8a14cb', 720, 576, '64001e'],
  ])('of %s', (_what, hex, width, height, profileLevelId) => {
    expect(parseH264Sps(bytes(hex))).toMatchObject({ width, height, profileLevelId });
  });

  it('is not read when it ends before its size', () => {
    const whole = '67640028acd940780227e5c044000003000400000300083c60c658';
    for (let length = 0; length <= 9; length++) {
      expect(parseH264Sps(bytes(whole).subarray(0, length))).toBeUndefined();
    }
  });

  it('is not read from another NAL unit', () => {
    expect(parseH264Sps(bytes('68ebe3cb22c0'))).toBeUndefined();
  });
});

describe('the NAL units that begin in a payload', () => {
  it('are one, several of an aggregate, or the beginning of a fragmented one', () => {
    expect(nalUnitsBegunIn('H264', bytes('65 aabb'))).toEqual([{ isWhole: true, nalUnit: bytes('65aabb') }]);
    expect(nalUnitsBegunIn('H264', bytes('78 0002 6742 0003 68aabb 0001 65'))).toEqual([
      { isWhole: true, nalUnit: bytes('6742') },
      { isWhole: true, nalUnit: bytes('68aabb') },
      { isWhole: true, nalUnit: bytes('65') },
    ]);
    expect(nalUnitsBegunIn('H264', bytes('7c 85 aabb'))).toEqual([{ isWhole: false, nalUnit: bytes('65aabb') }]);
    expect(nalUnitsBegunIn('H264', bytes('7c 45 cc'))).toEqual([]);
  });

  it('are found in H.265 in the same way', () => {
    expect(nalUnitsBegunIn('H265', bytes('2601 aabb'))).toEqual([{ isWhole: true, nalUnit: bytes('2601aabb') }]);
    expect(nalUnitsBegunIn('H265', bytes('6001 0003 420101 0003 4401cc'))).toEqual([
      { isWhole: true, nalUnit: bytes('420101') },
      { isWhole: true, nalUnit: bytes('4401cc') },
    ]);
    expect(nalUnitsBegunIn('H265', bytes('6201 93 aabb'))).toEqual([{ isWhole: false, nalUnit: bytes('2601aabb') }]);
    expect(nalUnitsBegunIn('H265', bytes('6201 53 cc'))).toEqual([]);
  });

  it('are the complete ones of a truncated aggregate', () => {
    expect(nalUnitsBegunIn('H264', bytes('78 0002 6742 0009 68aabb'))).toMatchObject([{ nalUnit: bytes('6742') }]);
  });

  it('are not found in garbage', () => {
    for (const hex of ['', '00', 'ff', '7c', '78', '78ffff', '1f0000', 'e5aa'])
      expect(nalUnitsBegunIn('H264', bytes(hex))).toEqual([]);
  });
});

describe('the packets of a real encoder', () => {
  it.each([
    ['h264', readH264],
    ['vp8', readVp8],
    ['vp9', readVp9],
  ] as const)('tell the size and the key frames of %s', (codec, read) => {
    const hints = payloads(codec).map(read);
    const sizes = hints.flatMap(({ dimensions }) => dimensions ?? []);
    expect(sizes.length).toBeGreaterThanOrEqual(2);
    expect(sizes.every(({ width, height }) => width === 180 && height === 100)).toBe(true);
    expect(hints[0]?.isKeyFrame).toBe(true);
    expect(hints.filter(({ isKeyFrame }) => !isKeyFrame).length).toBeGreaterThan(15);
  });
});

describe('a VP8 payload', () => {
  const keyFrame = '50 0b00 9d012a 8002 6801';

  it.each([
    ['no extension', '10'],
    ['a picture id of 7 bits', '90 80 11'],
    ['a picture id of 15 bits', '90 80 8011'],
    ['picture id, TL0PICIDX and temporal layer', '90 e0 8011 05 20'],
  ])('is a key frame with %s in its descriptor', (_what, descriptor) => {
    expect(readVp8(bytes(descriptor + keyFrame))).toEqual({
      isKeyFrame: true,
      dimensions: { width: 640, height: 360 },
    });
  });

  it('is no key frame in the middle of a frame, in a later partition, or of an interframe', () => {
    for (const start of ['00', '11']) expect(readVp8(bytes(start + keyFrame)).isKeyFrame).toBe(false);
    expect(readVp8(bytes('10 5100009d012a80026801')).isKeyFrame).toBe(false);
  });

  it('ignores the scaling bits of the size', () => {
    expect(readVp8(bytes('10 500b00 9d012a 8042 6881')).dimensions).toEqual({ width: 640, height: 360 });
  });
});

describe('a VP9 payload', () => {
  it('has the size of the largest layer in its scalability structure', () => {
    // Bits I, L, B and V; a picture id; layer 0; a structure of two layers with sizes.
    expect(readVp9(bytes('aa 8011 00 00 30 0140 00b4 0280 0168 82'))).toEqual({
      isKeyFrame: true,
      dimensions: { width: 640, height: 360 },
    });
  });

  it('has its size in the uncompressed header if there is no structure', () => {
    expect(readVp9(bytes('88 05 82 498342 00 4f f0 2c f0')).dimensions).toEqual({ width: 1280, height: 720 });
  });

  it('is no key frame when predicted, in the middle of a frame, or of an upper layer', () => {
    const header = '82498342004ff02cf0';
    for (const descriptor of ['c805', '8005', 'a805 0200']) {
      expect(readVp9(bytes(descriptor + header)).isKeyFrame).toBe(false);
    }
  });
});

describe('an AV1 payload', () => {
  // The sequence headers of libaom, SVT-AV1 and rav1e, without their size fields.
  it.each([
    ['libaom', '08 000000043ea7bcdaf90040', 426, 240],
    ['SVT-AV1', '08 000000043ea7bcfbf90040', 426, 240],
    ['rav1e', '08 000000faa67fd9e210a88101010a', 1280, 720],
  ])('of %s has its size in the sequence header', (_encoder, header, width, height) => {
    const dimensions = { width, height };
    expect(readAv1(bytes(`18${header}`))).toEqual({ isKeyFrame: true, dimensions });
    // After another OBU, and with a length for each element.
    expect(readAv1(bytes(`28 02 7800 ${header}`))).toEqual({ isKeyFrame: true, dimensions });
    const length = bytes(header).length.toString(16).padStart(2, '0');
    expect(readAv1(bytes(`08 02 7800 ${length} ${header}`))).toEqual({ isKeyFrame: true, dimensions });
  });

  it('is no key frame without the start of a sequence', () => {
    expect(readAv1(bytes('10 08000000043ea7bcdaf90040'))).toEqual({ isKeyFrame: false });
  });
});

describe.each(READERS)('garbage as %s', (codec, read) => {
  it('never throws and never gives an absurd size', () => {
    let state = 1;
    const next = () => (state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff) >> 16;
    const samples = codec === 'av1' ? [bytes('1808000000043ea7bcdaf90040')] : payloads(codec).slice(0, 8);
    for (let round = 0; round < 4000; round++) {
      const sample = samples[round % samples.length] ?? new Uint8Array();
      const broken = Uint8Array.from(sample.subarray(0, next() % 60));
      for (let flips = next() % 6; flips > 0; flips--) broken[next() % (broken.length || 1)] = next() & 0xff;
      const { dimensions } = read(broken);
      if (!dimensions) continue;
      expect(dimensions.width).toBeGreaterThan(0);
      expect(dimensions.height).toBeGreaterThan(0);
      expect(Math.max(dimensions.width, dimensions.height)).toBeLessThanOrEqual(65536);
    }
  });
});
