import { describe, expect, it } from 'vitest';
import { LossDetector } from './loss-detector.js';

const heard = (...sequenceNumbers: number[]): LossDetector => {
  const detector = new LossDetector();
  for (const sequenceNumber of sequenceNumbers) detector.received(sequenceNumber, 0);
  return detector;
};

describe('a loss detector', () => {
  it('asks at once for what is missing, across a wraparound of the numbers too', () => {
    expect(heard(10, 11, 15).due(0, 0)).toEqual({ wanted: [12, 13, 14], abandoned: 0 });
    expect(heard(65_534, 2).due(0, 0)).toEqual({ wanted: [65_535, 0, 1], abandoned: 0 });
  });

  it('asks again after a round trip, and gives up after ten times', () => {
    const detector = heard(1, 3);
    let asked = 0;
    let nowMs = 0;
    for (; nowMs < 1_500; nowMs += 10) {
      const { wanted, abandoned } = detector.due(nowMs, 50);
      asked += wanted.length;
      if (abandoned > 0) break;
    }
    expect(asked).toBe(10);
    expect(nowMs).toBe(460);
    expect(detector.isComplete).toBe(true);
  });

  it('gives up what is too late for a live picture', () => {
    const detector = heard(1, 3);
    expect(detector.due(0, 5_000).wanted).toEqual([2]);
    expect(detector.due(2_001, 5_000)).toEqual({ wanted: [], abandoned: 1 });
  });

  it('accepts a late packet once', () => {
    const detector = heard(1, 4);
    expect(detector.received(2, 0)).toBe(true);
    expect(detector.received(2, 0)).toBe(false);
    expect(detector.received(4, 0)).toBe(false);
    expect(detector.due(0, 0).wanted).toEqual([3]);
  });

  it('gives up hundreds of packets at once, and goes on from there', () => {
    const detector = heard(1, 9_000);
    expect(detector.due(0, 0)).toEqual({ wanted: [], abandoned: 8_998 });
    expect(detector.due(0, 0)).toEqual({ wanted: [], abandoned: 0 });
    expect(detector.received(9_002, 0)).toBe(true);
    expect(detector.due(0, 0).wanted).toEqual([9_001]);
  });

  it('treats a jump backwards as a new numbering', () => {
    const detector = heard(30_000);
    expect(detector.received(100, 0)).toBe(true);
    expect(detector.received(102, 0)).toBe(true);
    expect(detector.due(0, 0).wanted).toEqual([101]);
  });

  it('counts for the receiver report what is lost in all and in the interval', () => {
    const detector = heard(10, 11, 13, 14);
    expect(detector.report()).toEqual({ fractionLost: 0.2, packetsLost: 1, highestSequenceNumber: 14 });
    detector.received(15, 0);
    detector.received(16, 0);
    expect(detector.report()).toEqual({ fractionLost: 0, packetsLost: 1, highestSequenceNumber: 16 });
    detector.received(12, 0);
    expect(detector.report().packetsLost).toBe(0);
  });
});
