import { expect, it } from 'vitest';
import { BackOff } from './back-off.js';

it('doubles the delay from 0.2 s to 10 s while a process keeps ending', () => {
  const backOff = new BackOff();
  const delaysMs = Array.from({ length: 8 }, () => backOff.nextDelayMs(1_000));
  expect(delaysMs).toEqual([200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
});

it('starts again with the shortest delay after a process has run for half a minute', () => {
  const backOff = new BackOff();
  for (let ending = 0; ending < 5; ending++) backOff.nextDelayMs(100);
  expect(backOff.nextDelayMs(30_000)).toBe(200);
  expect(backOff.nextDelayMs(100)).toBe(400);
});
