import { describe, expect, it } from 'vitest';

import { DecodeTimes, type NtpTime, ntpTimeOf, parseRtcp, SourceClock, unixMsOf, writeSenderReport } from './index.js';

describe('the clock of a source', () => {
  it('places a track without sender reports by its least delayed packet', () => {
    const track = new SourceClock().track(90_000);
    track.arrived(90_000, 5_040);
    track.arrived(180_000, 6_010);
    track.arrived(270_000, 7_300);
    expect(track.wallClockMs(270_000)).toBeCloseTo(7_010);
  });

  it('lines audio and video up by the sender’s clock, however late each of them is', () => {
    const source = new SourceClock();
    const [video, audio] = [source.track(90_000), source.track(48_000)];
    video.arrived(1_000, 10_500);
    audio.arrived(2_000, 10_020);
    // Both were captured when the sender's clock read 777 000 ms.
    video.senderReport({ ...ntpTimeOf(777_000), rtpTimestamp: 1_000 });
    audio.senderReport({ ...ntpTimeOf(777_000), rtpTimestamp: 2_000 });
    video.arrived(1_000 + 9_000, 10_600);
    audio.arrived(2_000 + 4_800, 10_120);
    expect(video.wallClockMs(1_000 + 9_000)).toBeCloseTo(10_120);
    expect(audio.wallClockMs(2_000 + 4_800)).toBeCloseTo(10_120);
  });

  it('understands a report whose timestamp lies on the other side of the wrap', () => {
    const track = new SourceClock().track(90_000);
    track.arrived(2 ** 32 + 45_000, 20_000);
    track.senderReport({ ...ntpTimeOf(500_000), rtpTimestamp: 2 ** 32 - 45_000 });
    track.arrived(2 ** 32 + 45_000, 20_000);
    expect(track.wallClockMs(2 ** 32 - 45_000)).toBeCloseTo(19_000);
  });

  it('follows a step of the timestamps that a report confirms, and ignores one of the sender’s clock', () => {
    const track = new SourceClock().track(90_000);
    const at = (ms: number, stepMs: number) => ms * 90 + stepMs * 90;
    track.arrived(at(1_000, 0), 11_000);
    track.senderReport({ ...ntpTimeOf(501_000), rtpTimestamp: at(1_000, 0) });
    track.arrived(at(2_000, 800), 12_000);
    track.senderReport({ ...ntpTimeOf(502_000), rtpTimestamp: at(2_000, 800) });
    track.arrived(at(3_000, 800), 13_000);
    expect(track.senderMs(at(3_000, 800))).toBeCloseTo(503_000);
    track.senderReport({ ...ntpTimeOf(503_000 + 900), rtpTimestamp: at(3_000, 800) });
    expect(track.senderMs(at(3_000, 800))).toBeCloseTo(503_000);
  });

  it('forgets what it knew when the timestamps begin anew', () => {
    const track = new SourceClock().track(90_000);
    track.arrived(90_000_000, 1_000);
    track.arrived(0, 2_000);
    expect(track.wallClockMs(0)).toBeCloseTo(2_000);
  });
});

describe('RTCP', () => {
  it('reads the sender report it wrote, in a compound packet, and stops at garbage', () => {
    const ntpMs = 1_700_000_000_250;
    const counts = { packetCount: 5, octetCount: 6 };
    const report = { ssrc: 7, ...ntpTimeOf(ntpMs), rtpTimestamp: 4_000_000_000, ...counts };
    const bye = Uint8Array.of(0x81, 203, 0, 1, 0, 0, 0, 7);
    const bytes = Uint8Array.from([...writeSenderReport(report), ...bye, 0x80, 200, 0, 9, 1]);
    const messages = parseRtcp(bytes);
    expect(messages).toHaveLength(2);
    expect(messages[0]).toMatchObject({ tag: 'sender-report', ssrc: 7, rtpTimestamp: 4_000_000_000 });
    expect(unixMsOf(messages[0] as NtpTime)).toBeCloseTo(ntpMs, 3);
    expect(messages[1]).toEqual({ tag: 'bye', ssrcs: [7] });
  });
});

describe('decoding times', () => {
  const decode = (reorderFrames: number, pts: number[]) => {
    const times = new DecodeTimes({ reorderFrames, frameTicks: 10 });
    return pts.map((time) => times.push(time));
  };

  it('are the presentation times where nothing is reordered', () => {
    expect(decode(0, [0, 10, 25, 30])).toEqual([0, 10, 25, 30]);
  });

  it('rise evenly and stay below the presentation times of a B-pyramid', () => {
    const pts = [0, 40, 20, 10, 30, 80, 60, 50, 70];
    const dts = decode(2, pts);
    expect(dts).toEqual([-20, -10, 0, 10, 20, 30, 40, 50, 60]);
    expect(dts.every((time, index) => time <= pts[index]!)).toBe(true);
  });

  it('rise even where the stream doesn’t tell how much it reorders', () => {
    const dts = decode(0, [0, 40, 20, 10, 30, 80, 60, 50, 70, 120, 100, 90, 110]);
    dts.slice(1).forEach((time, index) => expect(time).toBeGreaterThan(dts[index]!));
    expect(dts.slice(-4)).toEqual([60, 70, 80, 90]);
  });
});
