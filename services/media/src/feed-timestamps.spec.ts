import { describe, expect, it } from 'vitest';
import { FeedTimestamps } from './feed-timestamps.js';

const TICKS_PER_MS = 90;
const INTERVAL_MS = 40;

/** A source that sends a picture every 40 ms. Picture k is stamped and sent at k × 40 ms unless told otherwise. */
function timesOf(
  count: number,
  { stampedMs = (_k: number): number => 0, lateMs = (_k: number): number => 0 } = {},
): number[] {
  const timestamps = new FeedTimestamps(90_000, 1_000_000);
  const first = timestamps.next(0, 0);
  const times = [0];
  for (let k = 1; k < count; k++) {
    const atMs = k * INTERVAL_MS;
    const given = timestamps.next((atMs + stampedMs(k)) * TICKS_PER_MS, atMs + lateMs(k));
    times.push((given - first) / TICKS_PER_MS);
  }
  return times;
}

/** How far each picture's time is from the time at which it was sent. */
const errorsOf = (times: readonly number[]) => times.map((time, k) => time - k * INTERVAL_MS);
const rises = (times: readonly number[]) => times.slice(1).every((time, k) => time > (times[k] ?? 0));

describe('the timestamps of a feed', () => {
  it('are those of the source, whenever its packets arrive', () => {
    // The network holds everything back for two seconds, and then delivers it at once.
    const late = (k: number) => (k >= 100 && k < 150 ? (150 - k) * INTERVAL_MS : 0);
    expect(errorsOf(timesOf(300, { lateMs: late })).every((error) => error === 0)).toBe(true);
  });

  it.each([300, 800, 2_500, 7_200_000, -300, -800, -2_500, -7_200_000])(
    'do not follow single pictures that are stamped %d ms away',
    (byMs) => {
      const times = timesOf(300, { stampedMs: (k) => (k % 37 === 36 ? byMs : 0) });
      expect(rises(times)).toBe(true);
      expect(Math.max(...errorsOf(times).map(Math.abs))).toBeLessThanOrEqual(INTERVAL_MS);
    },
  );

  it.each([300, 1_200, 3_900, 7_200_000, -300, -1_200, -3_900, -7_200_000])(
    'go on when those of the source step by %d ms',
    (byMs) => {
      const times = timesOf(300, { stampedMs: (k) => (k >= 100 ? byMs : 0) });
      expect(rises(times)).toBe(true);
      expect(Math.max(...errorsOf(times).map(Math.abs))).toBeLessThanOrEqual(INTERVAL_MS);
    },
  );

  it('advance by the time that has passed when the source has stopped its clock for a while', () => {
    const times = timesOf(300, { lateMs: (k) => (k >= 100 ? 10_000 : 0) });
    expect(
      errorsOf(times)
        .slice(100)
        .every((error) => error === 10_000),
    ).toBe(true);
  });

  it('continue those of the frames with which the feed began', () => {
    const timestamps = new FeedTimestamps(90_000, 1_000_000);
    const begun = timestamps.begin(90_000, 5_000);
    expect(timestamps.next(90_000 + 40 * TICKS_PER_MS, 5_040)).toBe(begun + 40 * TICKS_PER_MS);
  });
});
