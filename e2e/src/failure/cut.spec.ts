import { describe, expect, it } from 'vitest';
import { reportOfCuts, type CutCase } from '../../failure/cut.js';
import type { RecordingAnswer } from '../../failure/filmed.js';
import { KnownTrack } from '../../failure/known-media.js';

/** A picture each 100 ms. */
const TRACK = new KnownTrack('VP8', [], 90_000, 9_000);
const COUNT = 100;

interface Case {
  /** Frames that were never sent, because the source was paused. */
  unsent?: (number: number) => boolean;
  /** How much later than its capture a frame was sent. */
  lateMs?: (number: number) => number;
  /** Frames that the file doesn't have. */
  missing?: (number: number) => boolean;
  /** How much earlier than its capture a frame is in the file. */
  earlyMs?: (number: number) => number;
  joints?: RecordingAnswer['details']['joints'];
  cuts?: CutCase['cuts'];
}

const none = () => false;
const inTime = () => 0;

function report({ unsent = none, lateMs = inTime, missing = none, earlyMs = inTime, joints = [], cuts = [] }: Case) {
  const numbers = Array.from({ length: COUNT }, (_frame, number) => number);
  const frames = numbers.filter((number) => !unsent(number) && !missing(number));
  return reportOfCuts({
    source: {
      tracks: [TRACK],
      sentMs: [numbers.map((number) => (unsent(number) ? undefined : number * 100 + lateMs(number)))],
    },
    file: { frames: [frames.map((number) => ({ number, atMs: number * 100 - earlyMs(number) }))] },
    answer: {
      ...{ id: 'r', state: 'delivered', reason: '', durationMs: COUNT * 100, sizeBytes: 1 },
      details: { joints, gaps: [], losses: 0 },
    },
    startedMs: 0,
    cuts,
  });
}

const between = (from: number, to: number) => (number: number) => number >= from && number < to;

describe('what the recording series says about a file', () => {
  it('is nothing if it has everything', () => {
    expect(report({})).toEqual({ missingMs: 0, lostFrames: 0, sentences: [] });
  });

  it('is nothing about a pause of the source, even if it then sends late what it has captured', () => {
    const lateMs = (number: number) => (number >= 60 ? Math.max(0, 500 - (number - 60) * 100) : 0);
    expect(report({ unsent: between(30, 60), lateMs })).toEqual({ missingMs: 0, lostFrames: 0, sentences: [] });
  });

  it('names frames that are missing where nothing was killed, and counts only those that were sent', () => {
    const { lostFrames, sentences } = report({ unsent: between(30, 60), missing: between(60, 65) });
    expect(lostFrames).toBe(5);
    expect(sentences).toEqual([expect.stringContaining('lacks 5 frames of 65 where nothing was killed')]);
  });

  it('is how much is missing before a kill, and nothing about what is missing after it', () => {
    const cuts = [{ atMs: 5_000, what: 'the kill' }];
    const joints = [{ atMs: 4_500, missingMs: 3_500 }];
    const earlyMs = (number: number) => (number >= 80 ? 3_500 : 0);
    const killed = report({ missing: between(46, 80), earlyMs, joints, cuts });
    expect(killed).toEqual({ missingMs: 500, lostFrames: 0, sentences: [] });
    const { missingMs, sentences } = report({ missing: between(36, 80), earlyMs, joints, cuts });
    expect(missingMs).toBe(1_500);
    expect(sentences).toContain('of its VP8, 1500 ms are missing before the kill');
  });

  it('names a hole that the file hides and nobody tells', () => {
    const cuts = [{ atMs: 5_000, what: 'the kill' }];
    const { sentences } = report({ missing: between(46, 80), earlyMs: (number) => (number >= 80 ? 3_500 : 0), cuts });
    expect(sentences).toEqual([expect.stringContaining('has a hole of 3400 ms at 4500 ms, which isn')]);
  });
});
