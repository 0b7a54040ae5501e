import { AudioPacketizer, H264Packetizer, ntpTimeOf, writeSenderReport } from '@weir/frames';
import { readMediaFragment } from '@weir/mp4';
import { describe, expect, it } from 'vitest';

import { LivePlaylist, type PartOutput, RtpPackager, type SegmentOutput } from './index.js';

const SETS = {
  vps: [],
  sps: [Uint8Array.of(0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x47, 0xfe, 0x88)],
  pps: [Uint8Array.of(0x68, 0xce, 0x38, 0x80)],
};
const KEY_SLICE = Uint8Array.of(0x65, 0x88, 0x84, 1, 2, 3);
const SLICE = Uint8Array.of(0x41, 0x9a, 0x24, 4, 5, 6);

/** How a camera misbehaves. All times are milliseconds of real time since its first picture. */
interface Habits {
  fps?: number;
  /** The picture rate from `fromMs` on. */
  slow?: { fromMs: number; fps: number };
  gopMs?: number;
  durationMs?: number;
  /** Rate of its clock; 1 is a correct clock. */
  rate?: number;
  /** When its timestamps step, and by how much. */
  steps?: readonly { atMs: number; byMs: number }[];
  /** It sends sender reports; in the first case, their clock is set at `stepAtMs`. */
  reports?: { stepAtMs: number; byMs: number } | 'right' | 'wild';
  /** Every `each`th picture has a timestamp that is off by `byMs`. */
  strays?: { each: number; byMs: number };
  /** Stretches without pictures and, unless `hasSound` is set, without sound. */
  holes?: readonly { atMs: number; lastingMs: number; hasSound?: boolean }[];
  firstTimestamp?: number;
  audio?: { rate?: number; strays?: { each: number; byMs: number } };
}

interface Event {
  atMs: number;
  kind: 'video' | 'audio';
  packets: Uint8Array[];
}

const FIRST_MS = 1_700_000_000_000;

/** The packets of a camera, as they arrive. */
function* camera(habits: Habits): Generator<Event> {
  const { fps = 15, slow, gopMs = 2_000, durationMs = 60_000, rate = 1, steps = [], strays, holes = [] } = habits;
  const firstTimestamp = habits.firstTimestamp ?? 90_000;
  const video = new H264Packetizer({ payloadType: 96, ssrc: 1, sequenceNumber: 65_000 });
  const audio = new AudioPacketizer({ payloadType: 97, ssrc: 2, sequenceNumber: 1 });
  const steppedMs = (atMs: number) => steps.reduce((sum, step) => sum + (atMs >= step.atMs ? step.byMs : 0), 0);
  const holeAt = (atMs: number) => holes.find((hole) => atMs >= hole.atMs && atMs < hole.atMs + hole.lastingMs);
  const timestampAt = (atMs: number) => firstTimestamp + Math.round((atMs * rate + steppedMs(atMs)) * 90);
  let keyMs = Number.NEGATIVE_INFINITY;
  let soundMs = 0;
  let reportMs = 0;
  let picture = 0;
  for (let atMs = 0; atMs < durationMs; atMs += 1_000 / (slow && atMs >= slow.fromMs ? slow.fps : fps)) {
    for (; habits.audio && soundMs <= atMs; soundMs += 20) {
      if (holeAt(soundMs) && !holeAt(soundMs)?.hasSound) continue;
      const { rate: audioRate = 1, strays: wild } = habits.audio;
      const wildMs = wild && (soundMs / 20) % wild.each === wild.each - 1 ? wild.byMs : 0;
      const rtpTimestamp = 7_000 + Math.round((soundMs * audioRate + wildMs) * 48);
      yield { atMs: soundMs, kind: 'audio', packets: audio.packetize({ data: Uint8Array.of(0xf8, 1), rtpTimestamp }) };
    }
    const isStray = strays !== undefined && picture % strays.each === strays.each - 1;
    const isKeyFrame = atMs - keyMs >= gopMs - 1;
    if (isKeyFrame) keyMs = atMs;
    picture++;
    const frame = {
      isKeyFrame,
      rtpTimestamp: timestampAt(atMs) + (isStray ? strays.byMs * 90 : 0),
      nalUnits: [isKeyFrame ? KEY_SLICE : SLICE],
      parameterSets: SETS,
    };
    if (holeAt(atMs)) continue;
    yield { atMs, kind: 'video', packets: video.packetize(frame) };
    if (habits.reports === undefined || atMs - reportMs < 2_000) continue;
    reportMs = atMs;
    const { reports } = habits;
    const isWild = reports === 'wild' && Math.round(atMs / 2_000) % 4 === 3;
    const byMs = typeof reports === 'object' && atMs >= reports.stepAtMs ? reports.byMs : isWild ? 9_000_000 : 0;
    const ntpTime = ntpTimeOf(FIRST_MS + 123_456 + atMs * rate + byMs);
    const counts = { packetCount: 0, octetCount: 0 };
    yield {
      atMs,
      kind: 'video',
      packets: [writeSenderReport({ ssrc: 1, ...ntpTime, rtpTimestamp: timestampAt(atMs), ...counts })],
    };
    if (habits.audio === undefined) continue;
    const soundTimestamp = 7_000 + Math.round(atMs * (habits.audio.rate ?? 1) * 48);
    yield {
      atMs,
      kind: 'audio',
      packets: [writeSenderReport({ ssrc: 2, ...ntpTime, rtpTimestamp: soundTimestamp, ...counts })],
    };
  }
}

interface Watched {
  parts: PartOutput[];
  pictures: number;
  discontinuities: number;
  /** By how much all media in the playlist last longer than the time in which they arrived. */
  excessMs: number;
  /** The largest difference between a segment's date and the time when its first picture was sent. */
  dateErrorMs: number;
  /** The largest offset between sound and picture of the same instant, minus the offset at the beginning. */
  skewMs: number;
}

/** Returns what a viewer sees, and checks every rule that holds for all streams. */
function watch(habits: Habits): Watched {
  const track = { kind: 'video', codec: 'H264', clockRate: 90_000, channels: 0, parameters: {} } as const;
  const sound = { kind: 'audio', codec: 'opus', clockRate: 48_000, channels: 2, parameters: {} } as const;
  const packager = new RtpPackager({ video: track, ...(habits.audio && { audio: sound }), firstSegmentMs: 600 });
  const playlist = new LivePlaylist({ targetDurationS: 4, windowMs: 24_000 });
  const parts: PartOutput[] = [];
  const told = new Set<string>();
  const ends = new Map<number, number>();
  let discontinuities = 0;
  let segmentMs = 0;
  let dateErrorMs = 0;
  let mediaMs = 0;
  let lastMs = 0;
  const take = (outputs: SegmentOutput[], atMs: number) => {
    for (const output of outputs) {
      playlist.add(output);
      if (output.tag === 'segment-end') {
        expect(Math.round(output.durationMs / 1_000)).toBeLessThanOrEqual(4);
        expect(output.durationMs).toBeCloseTo(segmentMs, 3);
        segmentMs = 0;
      }
      if (output.tag !== 'part') continue;
      parts.push(output);
      segmentMs += output.durationMs;
      mediaMs += output.durationMs;
      if (output.index === 0) {
        if (output.isDiscontinuity) discontinuities++;
        const lateMs = atMs - (output.programDateTimeMs - FIRST_MS);
        dateErrorMs = Math.max(dateErrorMs, Math.abs(lateMs - 500));
        told.add(/PART-HOLD-BACK=.*\n.*\n/.exec(playlist.render())?.[0] ?? '');
        expect(playlist.canBegin).toBe(true);
        expect(output.videoFrames).toBeGreaterThan(0);
      }
      expect(output.durationMs).toBeGreaterThan(0);
      expect(output.durationMs).toBeLessThanOrEqual(output.partTargetMs);
      for (const { trackId, decodeTime, samples } of readMediaFragment(output.data)) {
        const end = ends.get(trackId) ?? 0;
        if (output.isDiscontinuity && output.index === 0) expect(decodeTime).toBeGreaterThanOrEqual(end);
        else if (end > 0) expect(decodeTime).toBe(end);
        ends.set(trackId, decodeTime + samples.reduce((sum, { duration }) => sum + duration, 0));
        for (const { duration } of samples) expect(duration).toBeGreaterThan(0);
      }
    }
  };
  for (const { atMs, kind, packets } of camera(habits)) {
    lastMs = atMs;
    take(packager.advance(FIRST_MS + atMs), atMs);
    for (const packet of packets) take(packager.push(kind, packet, FIRST_MS + atMs), atMs);
  }
  take(packager.end(FIRST_MS + lastMs), lastMs);
  expect([...told]).toHaveLength(1);
  const skewMs = Math.abs((ends.get(1) ?? 0) / 90 - (ends.get(2) ?? 0) / 48);
  const pictures = parts.reduce((sum, part) => sum + part.videoFrames, 0);
  return { parts, pictures, discontinuities, excessMs: mediaMs - lastMs, dateErrorMs, skewMs };
}

const pushed = (habits: Habits) =>
  [...camera(habits)].filter(({ kind, packets }) => kind === 'video' && packets[0]![1]! !== 200).length;

/** Expects all pictures at their original pace. */
function expectWhole(habits: Habits, { lossAllowed = 0, excessMs = 1_000 } = {}): Watched {
  const watched = watch(habits);
  expect(watched.pictures).toBeGreaterThanOrEqual(pushed(habits) - lossAllowed);
  expect(Math.abs(watched.excessMs)).toBeLessThanOrEqual(excessMs);
  if (habits.audio) expect(watched.skewMs).toBeLessThan(700);
  return watched;
}

describe('the time of a stream', () => {
  it.each([
    ['5 % fast', { rate: 1.05, durationMs: 120_000 }],
    ['5 % slow', { rate: 0.95, durationMs: 120_000 }],
    ['5 % fast, with reports that agree', { rate: 1.05, durationMs: 120_000, reports: 'right' }],
    ['5 % slow, with reports', { rate: 0.95, durationMs: 120_000, reports: 'right' }],
    ['5 % fast beside sound', { rate: 1.05, durationMs: 120_000, audio: {} }],
    ['5 % slow, like its sound', { rate: 0.95, durationMs: 120_000, audio: { rate: 0.95 } }],
    ['right beside sound that runs 3 % fast', { durationMs: 120_000, audio: { rate: 1.03 } }],
    [
      'right beside sound that runs 3 % slow, with reports',
      { durationMs: 120_000, audio: { rate: 0.97 }, reports: 'right' },
    ],
    ['right, but reports are hours off now and then', { reports: 'wild', audio: {} }],
  ] satisfies [string, Habits][])('is followed without a discontinuity where the clock is %s', (_name, habits) => {
    const { discontinuities, dateErrorMs } = expectWhole(habits);
    expect(discontinuities).toBe(0);
    expect(dateErrorMs).toBeLessThan(1_200);
  });

  it.each([1.0001, 0.9999])(
    'is followed for eight hours without a discontinuity where the clock runs at %d',
    (rate) => {
      const { discontinuities, dateErrorMs } = expectWhole(
        { rate, fps: 2, gopMs: 4_000, durationMs: 8 * 3_600_000 },
        { excessMs: 1_500 },
      );
      expect(discontinuities).toBe(0);
      expect(dateErrorMs).toBeLessThan(2_000);
    },
    120_000,
  );

  it.each([1_200, 2_000, 3_900, -700, -1_200, -2_000, -3_900])(
    'goes on where it was, with all pictures, when the timestamps step by %d ms',
    (byMs) => {
      for (const atMs of [20_000, 20_400]) {
        const { discontinuities } = expectWhole({ steps: [{ atMs, byMs }] });
        expect(discontinuities).toBeLessThanOrEqual(1);
        const withSound = expectWhole({ steps: [{ atMs, byMs }], audio: {}, reports: 'right' });
        expect(withSound.discontinuities).toBeLessThanOrEqual(1);
      }
    },
  );

  it.each([3_600_000, -3_600_000, 40_000_000])('has one discontinuity when they step by %d ms', (byMs) => {
    const habits: Habits = { steps: [{ atMs: 20_400, byMs }] };
    expect(expectWhole(habits, { lossAllowed: 1 }).discontinuities).toBe(1);
  });

  it.each([1_200, 3_900, -1_200, -3_900, 7_200_000])(
    'has no discontinuity when the clock of the reports is set by %d ms',
    (byMs) => {
      const { discontinuities, dateErrorMs } = expectWhole({ reports: { stepAtMs: 20_000, byMs }, audio: {} });
      expect(discontinuities).toBe(0);
      expect(dateErrorMs).toBeLessThan(1_000);
    },
  );

  it.each([7_200_000, 30_000_000, -7_200_000, 2_500, -2_500])(
    'is not that which one packet claims: each 37th picture is stamped %d ms away',
    (byMs) => {
      const { discontinuities } = expectWhole({ strays: { each: 37, byMs } });
      expect(discontinuities).toBe(0);
      expect(expectWhole({ strays: { each: 37, byMs }, audio: {} }).discontinuities).toBe(0);
      // Some of them are key frames.
      expect(expectWhole({ strays: { each: 30, byMs } }).discontinuities).toBe(0);
    },
  );

  it('does not follow a single packet of sound', () => {
    const { discontinuities } = expectWhole({ audio: { strays: { each: 37, byMs: 7_200_000 } } });
    expect(discontinuities).toBe(0);
  });

  it.each([1_500, 2_500, 3_900, 6_000])(
    'has one discontinuity after a pause of %d ms, and no picture is lost',
    (lastingMs) => {
      for (const atMs of [20_000, 21_000]) {
        const habits: Habits = { holes: [{ atMs, lastingMs }], gopMs: 4_000 };
        const watched = watch(habits);
        expect(watched.pictures).toBe(pushed(habits));
        expect(watched.discontinuities).toBe(1);
      }
    },
  );

  it('leaves out the same time for the sound', () => {
    const { discontinuities, skewMs } = watch({ holes: [{ atMs: 21_000, lastingMs: 2_500 }], audio: {}, gopMs: 4_000 });
    expect(discontinuities).toBe(1);
    expect(skewMs).toBeLessThan(700);
  });

  it('goes on with the sound while only the pictures pause', () => {
    const { discontinuities } = expectWhole({ holes: [{ atMs: 21_000, lastingMs: 2_500, hasSound: true }], audio: {} });
    expect(discontinuities).toBe(0);
  });

  it.each([
    [15, 4],
    [15, 2],
    [30, 3],
    [4, 15],
    [25, 12.5],
  ])('keeps its part target when %d pictures a second become %d', (fps, slower) => {
    const habits: Habits = { fps, slow: { fromMs: 21_000, fps: slower } };
    const { discontinuities, parts } = expectWhole(habits);
    expect(discontinuities).toBe(0);
    const isLast = new Set(parts.map((part, index) => (parts[index + 1]?.index === 0 ? part : undefined)));
    const short = parts.slice(0, -1).filter((part) => !isLast.has(part) && part.durationMs < 0.85 * part.partTargetMs);
    expect(short).toEqual([]);
  });

  it('accepts a source that sends one picture every three seconds', () => {
    const { discontinuities } = expectWhole({ slow: { fromMs: 21_000, fps: 1 / 3 } }, { excessMs: 3_500 });
    expect(discontinuities).toBe(1);
  });

  it('learns no part target from a pause at the beginning of the stream', () => {
    const { parts } = watch({ holes: [{ atMs: 60, lastingMs: 2_500 }] });
    expect(parts[0]!.partTargetMs).toBe(228);
  });

  it('keeps a part that players can start with, even if the window is shorter than the GOP', () => {
    const { discontinuities, parts } = expectWhole({ gopMs: 40_000, durationMs: 130_000 });
    expect(discontinuities).toBe(0);
    expect(parts.filter(({ isIndependent }) => isIndependent)).toHaveLength(4);
  });

  it('wraps', () => {
    for (const firstTimestamp of [2 ** 32 - 90_000 * 30, 2 ** 32 - 90_000 * 20 - 3_000]) {
      expect(expectWhole({ firstTimestamp, reports: 'right', audio: {} }).discontinuities).toBe(0);
      const strays = { each: 37, byMs: 7_200_000 };
      expect(expectWhole({ firstTimestamp, strays }).discontinuities).toBe(0);
    }
  });

  it.each([
    [
      'a fast clock, steps and strays',
      { rate: 1.05, steps: [{ atMs: 20_000, byMs: 2_000 }], strays: { each: 37, byMs: 9e6 } },
      1,
    ],
    [
      'a slow clock with reports and a pause',
      { rate: 0.97, reports: 'right', holes: [{ atMs: 21_000, lastingMs: 2_500 }] },
      1,
    ],
    [
      'steps back and forth and fewer pictures',
      {
        steps: [
          { atMs: 15_000, byMs: -3_000 },
          { atMs: 30_000, byMs: 3_000 },
        ],
        slow: { fromMs: 40_000, fps: 4 },
      },
      2,
    ],
    [
      'a long GOP, a fast clock and a wrap',
      { gopMs: 40_000, rate: 1.02, firstTimestamp: 2 ** 32 - 900_000, durationMs: 90_000 },
      0,
    ],
    [
      'a step of the reports and one of the timestamps',
      { reports: { stepAtMs: 20_000, byMs: 3_000 }, steps: [{ atMs: 40_000, byMs: -2_000 }], audio: {} },
      1,
    ],
  ] satisfies [string, Habits, number][])('withstands mixtures: %s', (_name, habits, most) => {
    const { discontinuities } = expectWhole(habits, { excessMs: 4_000 });
    expect(discontinuities).toBeLessThanOrEqual(most);
  });
});
