import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

interface LiveEdgeModule {
  nextRate(now: { behind: number; target: number; ahead: number; rate: number }): number;
  Spare: new () => { seconds: number; stalled(nowMs: number): void; calm(nowMs: number): void };
  LiveEdge: new (hls: object, video: object, recover: () => void) => { stop(): void };
}

const { nextRate, LiveEdge, Spare } = (await import(
  new URL('../web/live-edge.js', import.meta.url).href
)) as LiveEdgeModule;
const TARGET = 0.684;

describe('how fast the page plays', () => {
  it.each([
    ['at normal speed where it should be', 0.7, 1, 1],
    ['at normal speed if it is hardly behind', 0.74, 1, 1],
    ['a little faster if the start has cost time', 0.9, 1, 1.05],
    ['the faster, the further it is behind', 1.2, 1, 1.1],
    ['at most a quarter faster', 9, 1, 1.25],
    ['faster until it is nearly there', 0.72, 1.05, 1.05],
    ['at normal speed again when it is there', 0.7, 1.05, 1],
    ['never more slowly', 0.2, 1, 1],
  ])('%s', (_name, behind, rate, expected) => {
    expect(nextRate({ behind, target: TARGET, ahead: 0.5, rate })).toBe(expected);
  });

  it('does not speed up when the buffer is nearly empty', () => {
    expect(nextRate({ behind: 5, target: TARGET, ahead: 0.2, rate: 1.25 })).toBe(1);
  });

  it('settles at the target: it comes closer while it plays faster, and stays there', () => {
    let behind = 2;
    let rate = 1;
    const rates: number[] = [];
    for (let step = 0; step < 400; step++) {
      rate = nextRate({ behind, target: TARGET, ahead: behind - 0.1, rate });
      behind -= (rate - 1) * 0.2;
      rates.push(rate);
    }
    expect(behind).toBeGreaterThan(TARGET);
    expect(behind).toBeLessThan(TARGET + 0.06);
    expect(new Set(rates.slice(-50))).toEqual(new Set([1]));
  });
});

describe('the extra distance after stalls', () => {
  const after = (spare: InstanceType<typeof Spare>, fromMs: number, toMs: number) => {
    for (let nowMs = fromMs; nowMs < toMs; nowMs += 200) spare.calm(nowMs);
    return spare.seconds;
  };

  it('grows with each stall, up to a limit; a stall that is reported twice counts once', () => {
    const spare = new Spare();
    spare.stalled(0);
    spare.stalled(400);
    expect(spare.seconds).toBeCloseTo(0.3);
    for (let stall = 1; stall < 50; stall++) spare.stalled(stall * 5_000);
    expect(spare.seconds).toBeCloseTo(3);
  });

  it('shrinks slowly, and more slowly the more often it shrank too soon', () => {
    const spare = new Spare();
    spare.stalled(0);
    expect(after(spare, 0, 19_000)).toBeCloseTo(0.3);
    expect(after(spare, 19_000, 61_000)).toBe(0);
    const [calm, busy] = [new Spare(), new Spare()];
    calm.stalled(0);
    for (const atMs of [0, 5_000, 10_000]) busy.stalled(atMs);
    const given = (one: InstanceType<typeof Spare>) => one.seconds - after(one, 10_000, 65_000);
    expect(given(busy)).toBeLessThan(given(calm));
    expect(after(busy, 65_000, 2_000_000)).toBe(0);
  });
});

describe('a browser that is too busy for parts', () => {
  const stalling = () => {
    const listeners: (() => void)[] = [];
    const video = {
      ...{ currentTime: 28, paused: false, seeking: false, playbackRate: 1, videoWidth: 640, frames: 0 },
      buffered: { length: 1, end: () => 29.5 },
      getVideoPlaybackQuality: () => ({ totalVideoFrames: (video.frames += 6) }),
      addEventListener: (_type: string, listener: () => void) => void listeners.push(listener),
      removeEventListener: () => undefined,
    };
    const hls = {
      latestLevelDetails: { live: true, partHoldBack: 0.5, averagetargetduration: 2, edge: 30, age: 0.1 },
      ...{ liveSyncPosition: 29.5, lowLatencyMode: true, targetLatency: 0.5 },
    };
    const liveEdge = new LiveEdge(hls, video, () => undefined);
    const stall = (times: number) => {
      for (let each = 0; each < times; each++) {
        vi.advanceTimersByTime(3_000);
        for (const listener of listeners) listener();
      }
      vi.advanceTimersByTime(400);
    };
    return { hls, stall, liveEdge };
  };

  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('loads whole segments, further behind, and parts again after a time of calm', () => {
    const { hls, stall, liveEdge } = stalling();
    stall(5);
    expect(hls.lowLatencyMode).toBe(true);
    expect(hls.targetLatency).toBeCloseTo(2);
    stall(10);
    expect(hls.lowLatencyMode).toBe(false);
    expect(hls.targetLatency).toBe(4);
    vi.advanceTimersByTime(170_000);
    expect(hls.lowLatencyMode).toBe(true);
    expect(hls.targetLatency).toBeCloseTo(3.4);
    liveEdge.stop();
  });
});

describe('a player that is seconds late', () => {
  const late = (behindS: number, startTimeOffset: number | null) => {
    const video = {
      ...{ currentTime: 30 - behindS, paused: false, seeking: false, playbackRate: 1, videoWidth: 640, frames: 0 },
      buffered: { length: 1, end: () => 30 },
      getVideoPlaybackQuality: () => ({ totalVideoFrames: (video.frames += 6) }),
      addEventListener: () => undefined,
      removeEventListener: () => undefined,
    };
    const latestLevelDetails = { live: true, partHoldBack: 0.5, edge: 30, age: 0, startTimeOffset };
    const liveEdge = new LiveEdge({ latestLevelDetails, liveSyncPosition: 29.5 }, video, () => undefined);
    vi.advanceTimersByTime(200);
    liveEdge.stop();
    return video.currentTime;
  };

  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('jumps to the live edge if it is too late to catch up', () => {
    expect(late(5, null)).toBe(25);
    expect(late(6, null)).toBe(29.5);
  });

  it('does not jump past the last key frame, to which the playlist sends players', () => {
    expect(late(6, -10)).toBe(24);
  });
});

describe('a frozen picture', () => {
  const player = (age: number) => {
    const calls: string[] = [];
    const video = {
      ...{ currentTime: 10, paused: false, seeking: true, playbackRate: 1, buffered: { length: 0 } },
      ...{ videoWidth: 640, frames: 300, getVideoPlaybackQuality: () => ({ totalVideoFrames: video.frames }) },
      addEventListener: () => undefined,
      removeEventListener: () => undefined,
    };
    const hls = {
      latestLevelDetails: { live: true, partHoldBack: TARGET, edge: 30, age },
      liveSyncPosition: 29.3,
    };
    return { calls, video, liveEdge: new LiveEdge(hls, video, () => calls.push('recover')) };
  };

  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('jumps to the live edge while the stream goes on, and is reloaded if that does not help', () => {
    const { calls, video, liveEdge } = player(0.1);
    vi.advanceTimersByTime(2_000);
    expect(video.currentTime).toBe(10);
    vi.advanceTimersByTime(2_000);
    expect(video.currentTime).toBe(29.3);
    expect(calls).toEqual([]);
    vi.advanceTimersByTime(3_400);
    expect(calls).toEqual(['recover']);
    liveEdge.stop();
    vi.advanceTimersByTime(10_000);
    expect(calls).toEqual(['recover']);
  });

  it('counts as frozen even if the clock runs on', () => {
    const { video, liveEdge } = player(0.1);
    for (let step = 0; step < 20; step++) {
      video.currentTime += 0.2;
      vi.advanceTimersByTime(200);
    }
    expect(video.currentTime).toBeGreaterThan(29);
    liveEdge.stop();
  });

  it('does not count as frozen as long as new frames are shown', () => {
    const { calls, video, liveEdge } = player(0.1);
    for (let step = 0; step < 100; step++) {
      video.frames += 6;
      vi.advanceTimersByTime(200);
    }
    expect(video.currentTime).toBe(10);
    expect(calls).toEqual([]);
    liveEdge.stop();
  });

  it('is left alone while nothing arrives, but not for ever', () => {
    const { calls, video, liveEdge } = player(10);
    vi.advanceTimersByTime(14_000);
    expect(calls).toEqual([]);
    vi.advanceTimersByTime(2_000);
    expect(calls).toEqual(['recover']);
    expect(video.currentTime).toBe(10);
    liveEdge.stop();
  });

  it('is left alone while it is paused', () => {
    const { calls, video, liveEdge } = player(0.1);
    video.paused = true;
    vi.advanceTimersByTime(60_000);
    expect(calls).toEqual([]);
    expect(video.currentTime).toBe(10);
    liveEdge.stop();
  });
});
