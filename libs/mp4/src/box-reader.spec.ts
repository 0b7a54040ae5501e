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
    for (const kind of ['input', 'capture'] as const) {
      const time = { kind, unixMs: 1_800_000_000_123, mediaTimeTicks: 2 ** 33 + 180_000 };
      const read = referenceTimeOf(referenceTimeBox(1, time));
      expect(read).toEqual({ ...time, unixMs: expect.closeTo(time.unixMs, 2) as number });
    }
  });
});
