import { expect, it } from 'vitest';
import { backOffMs } from './back-off.js';

const PACE = { firstMs: 500, maxMs: 30_000 };

it('doubles the pause with every try up to its limit', () => {
  expect([0, 1, 2, 6, 7, 100_000].map((pauses) => backOffMs(PACE, pauses))).toEqual([
    500, 1_000, 2_000, 30_000, 30_000, 30_000,
  ]);
});

it('spreads the pause over the upper half of its step', () => {
  expect([0, 0.5, 0.999_999].map((random) => backOffMs(PACE, 1, random))).toEqual([500, 750, 1_000]);
});

it('grows as fast as it is told to', () => {
  expect([0, 1, 2].map((pauses) => backOffMs({ ...PACE, factor: 4 }, pauses))).toEqual([500, 2_000, 8_000]);
});
