import { describe, expect, it } from 'vitest';

import { box, u32 } from './box.js';
import { boxesIn } from './box-reader.js';
import { referenceTimeBox, referenceTimeOf } from './reference-time.js';

describe('boxes', () => {
  it('are read up to the first one that is cut off', () => {
    const bytes = new Uint8Array([...box('free', u32(1)), ...box('skip'), ...box('mdat', u32(1, 2)).subarray(0, 12)]);
    const view = new DataView(bytes.buffer);
    expect([...boxesIn(view, 0, bytes.length)]).toEqual([
      { type: 'free', start: 8, end: 12 },
      { type: 'skip', start: 20, end: 20 },
    ]);
  });

  it('tell to the millisecond when the media was made', () => {
    expect(referenceTimeOf(referenceTimeBox(1, 1_800_000_000_123, 180_000))).toBeCloseTo(1_800_000_000_123, 2);
  });
});
