import { readMediaFragment, writeMediaFragment, type Sample } from '@weir/mp4';
import { describe, expect, it } from 'vitest';
import { EpochTimeline } from './epoch-timeline.js';
import { EPOCH_MS } from './sequence-base.js';

const sample: Sample = {
  durationTicks: 3_000,
  compositionOffsetTicks: 0,
  isSync: true,
  bytes: 3,
  chunks: [Uint8Array.of(1, 2, 3)],
  hasNalLengths: false,
};
const timescales = new Map([
  [1, 90_000],
  [2, 44_100],
]);
const fragment = (videoS: number, audioS: number) =>
  writeMediaFragment(1, [
    { trackId: 1, decodeTimeTicks: videoS * 90_000, samples: [sample] },
    { trackId: 2, decodeTimeTicks: audioS * 44_100, samples: [sample] },
  ]);
const timesIn = (bytes: Uint8Array) =>
  readMediaFragment(bytes).map(({ trackId, decodeTime }) => decodeTime / (timescales.get(trackId) ?? 1));

describe('the timeline of the wall clock', () => {
  it('moves all tracks by the same whole number of seconds, once and for all', () => {
    const timeline = new EpochTimeline(timescales);
    const dateMs = EPOCH_MS + 200_000_000_400;
    const first = fragment(10, 10.5);
    timeline.place(first, dateMs);
    expect(timesIn(first)).toEqual([200_000_000, 200_000_000.5]);
    const second = fragment(11, 11.5);
    // Dates may drift, but media times don't.
    timeline.place(second, dateMs + 900);
    expect(timesIn(second)).toEqual([200_000_001, 200_000_001.5]);
    expect(readMediaFragment(second)[0]?.samples).toEqual(readMediaFragment(fragment(11, 11.5))[0]?.samples);
  });

  it('goes on after what an earlier run of the service has made', () => {
    const [before, after] = [fragment(10, 10), fragment(10, 10)];
    new EpochTimeline(timescales).place(before, EPOCH_MS + 1_000_000_000);
    new EpochTimeline(timescales).place(after, EPOCH_MS + 1_000_007_000);
    expect((timesIn(after)[0] ?? 0) - (timesIn(before)[0] ?? 0)).toBe(7);
  });

  it.each([[[]], [[0, 0, 0, 4]], [[255, 255, 255, 255, 109, 111, 111, 102]]])(
    'leaves anything but a fragment unchanged',
    (bytes) => {
      const data = Uint8Array.from(bytes);
      new EpochTimeline(timescales).place(data, Date.now());
      expect([...data]).toEqual(bytes);
    },
  );
});
