import { describe, expect, it } from 'vitest';
import { byteRange } from './byte-range.js';

describe('a range of 100 bytes', () => {
  it.each([
    [undefined, { tag: 'whole' }],
    ['bytes=0-', { tag: 'part', first: 0, last: 99 }],
    ['bytes=10-19', { tag: 'part', first: 10, last: 19 }],
    ['bytes=90-1000', { tag: 'part', first: 90, last: 99 }],
    ['bytes=-10', { tag: 'part', first: 90, last: 99 }],
    ['bytes=-1000', { tag: 'part', first: 0, last: 99 }],
    ['bytes=-0', { tag: 'unsatisfiable' }],
    ['bytes=100-', { tag: 'unsatisfiable' }],
    ['bytes=20-10', { tag: 'whole' }],
    ['bytes=0-1,5-6', { tag: 'whole' }],
    ['bytes=-', { tag: 'whole' }],
    ['lines=1-2', { tag: 'whole' }],
    ['bytes=99999999999999999999-', { tag: 'whole' }],
  ])('%s', (header, range) => {
    expect(byteRange(header, 100)).toEqual(range);
  });
});
