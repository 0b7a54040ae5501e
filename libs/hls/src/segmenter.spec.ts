import type { AudioFrame, NalFrame, ParameterSets } from '@weir/frames';
import { readMediaFragment } from '@weir/mp4';
import { describe, expect, it } from 'vitest';

import { type PartOutput, Segmenter, type SegmenterOptions, type SegmentOutput } from './index.js';

const parameterSets = (): ParameterSets => ({
  vps: [],
  sps: [Uint8Array.of(0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x47, 0xfe, 0x88)],
  pps: [Uint8Array.of(0x68, 0xce, 0x38, 0x80)],
});

const FRAME = { lost: false, complete: true } as const;

/** A source with its own clock: each frame arrives when it is captured. */
class Source {
  nowMs = 1_000_000;
  readonly outputs: SegmentOutput[] = [];
  readonly segmenter: Segmenter;
  sets = parameterSets();
  /** How far the RTP timestamps are ahead of the wall clock. */
  rtpAheadMs = 500_000;

  constructor(options: Partial<SegmenterOptions> = {}) {
    const video = { codec: 'H264', clockRate: 90_000 } as const;
    this.segmenter = new Segmenter({ video, ...options });
  }

  video(isKeyFrame: boolean, more: Partial<NalFrame> = {}, wallClockMs = this.nowMs): void {
    const frame: NalFrame = {
      ...FRAME,
      kind: 'video',
      codec: 'H264',
      isKeyFrame,
      rtpTimestamp: Math.round((this.nowMs + this.rtpAheadMs) * 90),
      nalUnits: [Uint8Array.of(isKeyFrame ? 0x65 : 0x41, 1, 2, 3)],
      parameterSets: this.sets,
      ...more,
    };
    this.outputs.push(...this.segmenter.push(frame, { wallClockMs, nowMs: this.nowMs }));
  }

  audio(byte = 1, lateMs = 0): void {
    const captured = this.nowMs - lateMs;
    const rtpTimestamp = Math.round(captured * 48);
    const base = { ...FRAME, kind: 'audio', codec: 'opus', isKeyFrame: true, durationTicks: 960 } as const;
    const frame: AudioFrame = { ...base, rtpTimestamp, data: Uint8Array.of(0xf8, byte) };
    this.outputs.push(...this.segmenter.push(frame, { wallClockMs: captured, nowMs: this.nowMs }));
  }

  /** Sends video with `frameMs` between frames and `gopMs` between key frames; calls `each` before every frame. */
  play(durationMs: number, { frameMs = 40, gopMs = 1000, each = (_index: number): void => undefined } = {}): void {
    for (let index = 0; index * frameMs < durationMs; index++) {
      each(index);
      this.video((index * frameMs) % gopMs === 0);
      this.nowMs += frameMs;
    }
  }

  get parts(): PartOutput[] {
    return this.outputs.filter((output) => output.tag === 'part');
  }

  get kinds(): string {
    return this.outputs.map((output) => output.tag[0]).join('');
  }

  get discontinuities(): number[] {
    return [...new Set(this.parts.filter((part) => part.isDiscontinuity).map((part) => part.msn))];
  }

  get segments() {
    return this.outputs.filter((output) => output.tag === 'segment-end');
  }
}

function track(parts: PartOutput[], trackId: number) {
  return parts.flatMap((part) => readMediaFragment(part.data).filter((run) => run.trackId === trackId));
}

function expectContinuous(parts: PartOutput[], trackId: number): void {
  let end: number | undefined;
  for (const { decodeTime, samples } of track(parts, trackId)) {
    if (end !== undefined) expect(decodeTime).toBe(end);
    end = decodeTime + samples.reduce((sum, sample) => sum + sample.duration, 0);
  }
}

describe('parts', () => {
  it.each([
    [20, 200],
    [40, 200],
    [50, 200],
    [1000 / 30, 200],
    [1000 / 24, 5000 / 24],
    [125, 250],
    [500, 500],
  ])('of frames of %d ms last %d ms, within their target’s bounds', (frameMs, partMs) => {
    const source = new Source();
    for (let index = 0; index * frameMs < 8_000; index++) {
      source.nowMs = 1_000_000 + index * frameMs;
      source.video(index % Math.round(2_000 / frameMs) === 0);
    }
    const endsSegment = (part: PartOutput) => source.outputs[source.outputs.indexOf(part) + 1]?.tag === 'segment-end';
    for (const part of source.parts) {
      expect(part.durationMs).toBeLessThanOrEqual(part.partTargetMs);
      if (endsSegment(part)) continue;
      expect(part.durationMs).toBeCloseTo(partMs, 0);
      expect(part.durationMs).toBeGreaterThanOrEqual(0.85 * part.partTargetMs);
    }
    expectContinuous(source.parts, 1);
  });

  it('absorb the jitter of a live source without exceeding their target', () => {
    const source = new Source();
    const jitterMs = [0, 6, -5, 3, -7, 8, 1, -4];
    const startMs = source.nowMs;
    for (let index = 0; index < 300; index++) {
      source.nowMs = startMs + index * (1000 / 30) + jitterMs[index % 8]!;
      source.video(index % 60 === 0);
    }
    const target = source.parts[0]!.partTargetMs;
    expect(source.parts.every((part) => part.durationMs <= target && part.partTargetMs === target)).toBe(true);
    expect(Math.min(...source.parts.map((part) => part.durationMs))).toBeGreaterThan(0.85 * target);
    expectContinuous(source.parts, 1);
  });

  it('are independent exactly when they contain a key frame', () => {
    const source = new Source();
    source.play(4_000, { gopMs: 600 });
    for (const part of source.parts) {
      const sync = track([part], 1).flatMap((run) => run.samples.map((sample) => sample.isSync));
      expect(part.isIndependent).toBe(sync.includes(true));
    }
  });
});

describe('segments', () => {
  it('begin with key frames once they are long enough', () => {
    const source = new Source({ segmentMs: 2_000 });
    source.play(9_000, { gopMs: 1_000 });
    expect(source.segments.map((segment) => segment.durationMs)).toEqual([2000, 2000, 2000, 2000]);
    for (const part of source.parts.filter((candidate) => candidate.index === 0)) expect(part.isIndependent).toBe(true);
  });

  it('end at their bound when the GOP is longer, and the parts go on', () => {
    const source = new Source({ maxSegmentMs: 2_000 });
    source.play(9_000, { gopMs: 60_000 });
    expect(source.segments.length).toBeGreaterThanOrEqual(3);
    for (const { durationMs } of source.segments) expect(Math.round(durationMs / 1000)).toBeLessThanOrEqual(2);
    expect(source.parts.filter((part) => part.isIndependent)).toHaveLength(1);
    expect(source.discontinuities).toEqual([]);
    expectContinuous(source.parts, 1);
  });

  it('begin with a short one if asked to, and with key frames from the third one on', () => {
    const source = new Source({ firstSegmentMs: 600 });
    source.play(13_000, { gopMs: 4_000 });
    expect(source.segments.map((segment) => segment.durationMs)).toEqual([600, 3400, 4000, 4000]);
    const begins = source.parts.filter((part) => part.index === 0).map((part) => part.isIndependent);
    expect(begins).toEqual([true, false, true, true, true]);
    expect(source.discontinuities).toEqual([]);
    expectContinuous(source.parts, 1);
  });

  it('begin with key frames where the short first one is a GOP', () => {
    const source = new Source({ firstSegmentMs: 600 });
    source.play(3_700, { gopMs: 600 });
    expect(source.segments.map((segment) => segment.durationMs)).toEqual([600, 1200, 1200]);
  });

  it('begin with a short one only once, not again after an interruption', () => {
    const source = new Source({ firstSegmentMs: 600 });
    source.play(3_100);
    source.outputs.push(...source.segmenter.interrupt());
    source.nowMs += 5_000;
    source.play(2_100);
    expect(source.segments.map((segment) => segment.durationMs)).toEqual([600, 400, 1000, 1000, 120, 1000, 1000]);
  });

  it('carry the wall clock of their first picture', () => {
    const source = new Source();
    source.play(3_100);
    const dates = source.parts.filter((part) => part.index === 0).map((part) => part.programDateTimeMs);
    expect(dates).toEqual([1_000_000, 1_001_000, 1_002_000]);
  });

  it('follow a slow source clock with their dates, not with their durations', () => {
    const source = new Source();
    const startMs = source.nowMs;
    // The timestamps advance by 40 ms, the wall clock by 40.2 ms.
    for (let index = 0; index < 2_500; index++) {
      source.nowMs = startMs + index * 40;
      source.video(index % 25 === 0, {}, startMs + index * 40.2);
    }
    const last = source.parts.filter((part) => part.index === 0).at(-1)!;
    expect(last.programDateTimeMs - startMs).toBeCloseTo(last.msn * 1005, -1);
    expect(new Set(source.segments.map((segment) => segment.durationMs))).toEqual(new Set([1000]));
  });
});

describe('a source that changes', () => {
  it('gets a new initialisation segment and a discontinuity with new parameter sets, without a break in time', () => {
    const source = new Source();
    source.play(2_000);
    source.sets = parameterSets();
    source.play(2_000);
    source.outputs.push(...source.segmenter.end());
    expect(source.outputs.filter((output) => output.tag === 'init').map((output) => output.initId)).toEqual([0, 1]);
    expect(source.discontinuities).toEqual([2]);
    expect(source.parts.map((part) => part.initId)).toEqual([...Array(10).fill(0), ...Array(10).fill(1)]);
    expectContinuous(source.parts, 1);
  });

  it('that jumps in time goes on after a discontinuity, from its next key frame', () => {
    const source = new Source();
    source.play(2_000);
    source.rtpAheadMs += 3_600_000;
    source.video(false);
    source.nowMs += 40;
    const framesBefore = source.parts.length;
    source.play(1_000);
    source.outputs.push(...source.segmenter.end());
    expect(framesBefore).toBeGreaterThan(0);
    expect(source.discontinuities).toEqual([2]);
    expect(source.parts.reduce((sum, part) => sum + part.videoFrames, 0)).toBe(75);
    const starts = track(source.parts, 1).map((run) => run.decodeTime);
    expect([...starts].sort((a, b) => a - b)).toEqual(starts);
    expect(starts.at(-1)! - starts[0]!).toBeLessThan(4_000 * 90);
  });

  it('that steps back in time goes on after a discontinuity', () => {
    const source = new Source();
    source.play(2_000);
    source.rtpAheadMs -= 100_000;
    source.play(1_000);
    source.outputs.push(...source.segmenter.end());
    expect(source.discontinuities).toEqual([2]);
    const starts = track(source.parts, 1).map((run) => run.decodeTime);
    expect([...starts].sort((a, b) => a - b)).toEqual(starts);
  });

  it('that falls silent has its last segment finished, and continues after a discontinuity', () => {
    const source = new Source({ maxSegmentMs: 4_000 });
    source.play(1_500);
    source.outputs.push(...source.segmenter.advance(source.nowMs + 3_900));
    expect(source.segments).toHaveLength(1);
    source.outputs.push(...source.segmenter.advance(source.nowMs + 4_100));
    expect(source.segments.map((segment) => Math.round(segment.durationMs))).toEqual([1000, 520]);
    source.nowMs += 20_000;
    source.play(1_100);
    expect(source.discontinuities).toEqual([2]);
    expect(source.parts.at(-1)!.programDateTimeMs).toBe(1_021_520);
  });

  it('that loses a picture is shown again from the next key frame, after a discontinuity if that took long', () => {
    const source = new Source();
    source.play(1_080);
    for (let index = 0; index < 20; index++) {
      source.video(false, { complete: false, lost: index === 0 });
      source.nowMs += 40;
    }
    source.play(1_100);
    source.outputs.push(...source.segmenter.end());
    expect(source.discontinuities).toEqual([2]);
    expect(source.parts.reduce((sum, part) => sum + part.videoFrames, 0)).toBe(27 + 28);
  });

  it('that loses a picture and sends a key frame at once goes on without a discontinuity', () => {
    const source = new Source();
    source.play(1_080);
    for (let index = 0; index < 4; index++) {
      source.video(false, { complete: false, lost: index === 0 });
      source.nowMs += 40;
    }
    source.play(1_100);
    expect(source.discontinuities).toEqual([]);
    expectContinuous(source.parts, 1);
  });

  it('is left out until its first key frame with known parameter sets', () => {
    const source = new Source();
    source.video(false);
    source.video(true, { parameterSets: undefined });
    source.nowMs += 40;
    source.video(false);
    expect(source.outputs).toEqual([]);
    source.nowMs += 40;
    source.play(1_040);
    expect(source.kinds).toBe('ipppppsp'.slice(0, 7));
  });

  it('returns its outputs in the order in which they are served, up to the end', () => {
    const source = new Source();
    source.play(1_000);
    source.outputs.push(...source.segmenter.end());
    expect(source.kinds).toBe('ipppppss');
    expect(source.outputs.at(-1)).toEqual({ tag: 'stream-end' });
  });

  it('continues the numbers of a packager before it after a discontinuity', () => {
    const source = new Source({ firstMsn: 17, firstInitId: 3 });
    source.play(1_100);
    expect(source.parts[0]).toMatchObject({ msn: 17, index: 0, initId: 3, isDiscontinuity: true });
  });
});

describe('audio beside video', () => {
  const options = { audio: { codec: 'opus', channels: 1 } } as const;
  const playBoth = (source: Source, durationMs: number, audio = (index: number) => source.audio(index % 256)) => {
    let nextAudioMs = source.nowMs;
    source.play(durationMs, {
      each: (index) => {
        const videoMs = source.nowMs;
        for (; nextAudioMs <= videoMs; nextAudioMs += 20) {
          source.nowMs = nextAudioMs;
          audio(index);
        }
        source.nowMs = videoMs;
      },
    });
  };

  it('is in the same parts, for the same time, without a hole', () => {
    const source = new Source(options);
    playBoth(source, 3_000);
    expectContinuous(source.parts, 1);
    expectContinuous(source.parts, 2);
    const [video, audio] = [track(source.parts, 1), track(source.parts, 2)];
    expect(Math.abs(audio[0]!.decodeTime / 48 - video[0]!.decodeTime / 90)).toBeLessThanOrEqual(20);
    for (const run of audio.slice(1)) expect(run.samples).toHaveLength(10);
  });

  it('that is missing becomes silence instead of stopping the picture', () => {
    const source = new Source(options);
    playBoth(source, 4_000, (index) => {
      if (index < 25 || index > 75) source.audio(7);
    });
    expectContinuous(source.parts, 2);
    const [video, audio] = [track(source.parts, 1).at(-1)!, track(source.parts, 2).at(-1)!];
    expect(Math.abs(audio.decodeTime / 48 - video.decodeTime / 90)).toBeLessThan(60);
    const silent = track(source.parts, 2).flatMap((run) => run.samples.filter((sample) => sample.bytes === 3));
    expect(silent.length).toBeGreaterThanOrEqual(98);
    expect(silent.length).toBeLessThanOrEqual(105);
  });

  it('that never comes becomes silence', () => {
    const source = new Source(options);
    source.play(3_000);
    const audio = track(source.parts, 2);
    expect(audio.length).toBeGreaterThanOrEqual(source.parts.length - 3);
    expectContinuous(source.parts, 2);
  });

  it('that is late but steady is heard, once its lateness is known', () => {
    const source = new Source(options);
    playBoth(source, 8_000, (index) => {
      if (index * 40 > 900) source.audio(7, 900);
    });
    const last = track(source.parts, 2)
      .slice(-10)
      .flatMap((run) => run.samples);
    expect(last.length).toBeGreaterThan(50);
    expect(last.every((sample) => sample.bytes === 2)).toBe(true);
    expectContinuous(source.parts, 2);
  });
});

describe('audio alone', () => {
  it('is cut by time, every part independent', () => {
    const source = new Source({ video: undefined, audio: { codec: 'opus', channels: 2 } });
    for (let index = 0; index < 300; index++) {
      source.audio();
      source.nowMs += 20;
    }
    expect(source.segments.every((segment) => segment.durationMs === 1000)).toBe(true);
    expect(source.parts.every((part) => part.durationMs === 200 && part.isIndependent)).toBe(true);
    expectContinuous(source.parts, 2);
  });

  it('begins with a short segment if asked to', () => {
    const source = new Source({ video: undefined, audio: { codec: 'opus', channels: 2 }, firstSegmentMs: 600 });
    for (let index = 0; index < 200; index++) {
      source.audio();
      source.nowMs += 20;
    }
    expect(source.segments.map((segment) => segment.durationMs)).toEqual([600, 1000, 1000, 1000]);
  });

  it('that pauses and returns goes on after a discontinuity', () => {
    const source = new Source({ video: undefined, audio: { codec: 'opus', channels: 2 } });
    const talk = () => {
      for (let index = 0; index < 60; index++) {
        source.audio();
        source.nowMs += 20;
      }
    };
    talk();
    source.nowMs += 30_000;
    talk();
    expect(source.discontinuities).toEqual([2]);
    expect(source.parts.at(-1)!.programDateTimeMs - 1_000_000).toBeGreaterThanOrEqual(31_200);
  });
});
