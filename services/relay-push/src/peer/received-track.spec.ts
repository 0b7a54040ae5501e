import { describe, expect, it } from 'vitest';
import { ReceivedTrack } from './received-track.js';

const packet = (sequenceNumber: number, timestamp: number, ssrc = 1): Buffer => {
  const bytes = Buffer.alloc(20, 9);
  bytes.writeUInt8(0x80, 0);
  bytes.writeUInt8(0x80 | 100, 1);
  bytes.writeUInt16BE(sequenceNumber & 0xffff, 2);
  bytes.writeUInt32BE(timestamp >>> 0, 4);
  bytes.writeUInt32BE(ssrc, 8);
  return bytes;
};

const newTrack = () => new ReceivedTrack({ clockRate: 90_000, out: { ssrc: 0x0a0b_0c0d, payloadType: 102 } });

describe('a received track', () => {
  it('rewrites SSRC and payload type for the media core', () => {
    expect(newTrack().receive(packet(7, 900), 0)?.subarray(0, 12).toString('hex')).toBe('80e60007000003840a0b0c0d');
  });

  it('passes a packet on once, even if it comes late', () => {
    const track = newTrack();
    expect(track.receive(packet(1, 0), 0)).toBeDefined();
    expect(track.receive(packet(3, 0), 0)).toBeDefined();
    expect(track.losses(0, 0).wanted).toEqual([2]);
    expect(track.receive(packet(2, 0), 0)).toBeDefined();
    expect(track.receive(packet(2, 0), 0)).toBeUndefined();
    expect(track.losses(0, 0).wanted).toEqual([]);
  });

  it('goes on without a break when the remote changes its SSRC', () => {
    const track = newTrack();
    track.receive(packet(65_535, 1_000), 0);
    const next = track.receive(packet(500, 77, 2), 100);
    expect(next?.readUInt16BE(2)).toBe(0);
    expect(next?.readUInt32BE(4)).toBe(10_000);
    const report = track.senderReport({ ssrc: 2, ntpSeconds: 1, ntpFraction: 2, rtpTimestamp: 77 }, 100);
    expect(report).toEqual({ ntpSeconds: 1, ntpFraction: 2, rtpTimestamp: 10_000 });
    expect(track.senderReport({ ssrc: 1, ntpSeconds: 1, ntpFraction: 2, rtpTimestamp: 77 }, 100)).toBeUndefined();
  });

  it('reports to the remote', () => {
    const track = newTrack();
    expect(track.report(0)).toBeUndefined();
    track.receive(packet(1, 0), 0);
    track.receive(packet(3, 3_000), 50);
    track.senderReport({ ssrc: 1, ntpSeconds: 0x1234_5678, ntpFraction: 0x9abc_0000, rtpTimestamp: 0 }, 1_000);
    expect(track.report(1_500)).toMatchObject({
      ssrc: 1,
      packetsLost: 1,
      highestSequenceNumber: 3,
      jitter: 94,
      lastSenderReport: 0x5678_9abc,
      delaySinceLastSenderReport: 32_768,
    });
    expect(track.stats).toMatchObject({ packets: 2, packetsLost: 1 });
  });
});
