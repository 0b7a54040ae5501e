import { describe, expect, it } from 'vitest';
import { qualityBetween, qualitySample } from './call-quality.js';

const reports = (sent: number, lost: number, received: number, missing: number) => [
  { type: 'outbound-rtp', packetsSent: sent, bytesSent: sent * 1_000 },
  { type: 'outbound-rtp', packetsSent: 0, bytesSent: 0 },
  { type: 'remote-inbound-rtp', packetsLost: lost },
  { type: 'inbound-rtp', packetsReceived: received, packetsLost: missing, bytesReceived: received * 500 },
  { type: 'candidate-pair', nominated: true, currentRoundTripTime: 0.0304 },
  { type: 'codec' },
];

describe('the quality of a call', () => {
  it('is what changed between two measurements', () => {
    const before = qualitySample(reports(100, 10, 100, 0), 0);
    const after = qualitySample(reports(200, 20, 190, 10), 2_000);
    expect(qualityBetween(before, after)).toEqual({
      sent: { loss: 0.1, rtt_ms: 30, bitrate_bps: 400_000 },
      received: { loss: 0.1, rtt_ms: 30, bitrate_bps: 180_000 },
    });
  });

  it('has no loss where nothing was sent, and never less than none', () => {
    const before = qualitySample(reports(100, 10, 100, 10), 0);
    const after = qualitySample([], 1_000);
    expect(qualityBetween(before, after)).toEqual({
      sent: { loss: 0, bitrate_bps: 0 },
      received: { loss: 0, bitrate_bps: 0 },
    });
  });

  it('is never more than a full loss', () => {
    const before = qualitySample(reports(0, 0, 0, 0), 0);
    const after = qualitySample(reports(10, 50, 0, 0), 1_000);
    expect(qualityBetween(before, after).sent?.loss).toBe(1);
  });
});
