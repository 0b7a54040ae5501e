import { Buffer } from 'node:buffer';

import { describe, expect, it } from 'vitest';

import { parseAacConfig } from './aac-config.js';

describe("AAC's configuration", () => {
  it.each([
    ['1210', { objectType: 2, sampleRate: 44100, channels: 2 }],
    ['118856e500', { objectType: 2, sampleRate: 48000, channels: 1 }],
    ['2b920800', { objectType: 5, sampleRate: 22050, channels: 2 }],
    ['17800fa008', { objectType: 2, sampleRate: 8000, channels: 1 }],
    ['f94e40', { objectType: 42, sampleRate: 22050, channels: 2 }],
    ['1238', { objectType: 2, sampleRate: 44100, channels: 8 }],
  ])('is read: %s', (hex, expected) => {
    expect(parseAacConfig(Buffer.from(hex, 'hex'))).toMatchObject(expected);
  });

  it.each(['', '12', '16f0'])('is not %j', (hex) => {
    expect(parseAacConfig(Buffer.from(hex, 'hex'))).toBeUndefined();
  });

  it('never makes the parser throw', () => {
    let state = 1;
    const next = () => (state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff) >> 16;
    for (let round = 0; round < 2_000; round++)
      expect(() => parseAacConfig(Uint8Array.from({ length: next() % 8 }, () => next()))).not.toThrow();
  });
});
