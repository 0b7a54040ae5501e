import { expect, test } from 'vitest';
import { retryAfterMs } from './retry-after.js';

const NOW_MS = Date.parse('2026-11-30T10:00:00Z');

test.each([
  ['120', 120_000],
  ['0', 0],
  ['Mon, 30 Nov 2026 10:01:00 GMT', 60_000],
  ['Mon, 30 Nov 2026 09:00:00 GMT', 0],
  ['999999999', 86_400_000],
  ['soon', undefined],
  ['-5', undefined],
  ['1.5', undefined],
  ['', undefined],
])('Retry-After: %s', (text, wantedMs) => {
  expect(retryAfterMs(new Headers({ 'retry-after': text }), NOW_MS)).toBe(wantedMs);
});

test('an answer without Retry-After asks for nothing', () => {
  expect(retryAfterMs(new Headers(), NOW_MS)).toBeUndefined();
});
