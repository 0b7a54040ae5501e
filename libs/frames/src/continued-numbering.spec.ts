import { describe, expect, it } from 'vitest';

import { ContinuedNumbering, ntpTimeOf, RtpPacket, type SenderReport, writeRtpPacket } from './index.js';

const CLOCK_RATE = 90_000;
const PAYLOAD = Uint8Array.of(1, 2, 3);

interface Sent {
  sequenceNumber: number;
  timestamp: number;
  payloadType?: number;
  ssrc?: number;
}

function packet({ payloadType = 96, ssrc = 7, ...rest }: Sent): RtpPacket {
  const parsed = RtpPacket.parse(writeRtpPacket({ payloadType, ssrc, marker: true, ...rest }, PAYLOAD));
  if (parsed === undefined) throw new Error('what was written is no packet');
  return parsed;
}

const numbers = ({ bytes }: RtpPacket) => {
  const parsed = RtpPacket.parse(bytes);
  return [parsed?.sequenceNumber, parsed?.timestamp, parsed?.payloadType, parsed?.ssrc];
};

const report = (rtpTimestamp: number, ssrc: number): SenderReport => ({
  tag: 'sender-report',
  ssrc,
  ...ntpTimeOf(5_000),
  rtpTimestamp,
  packetCount: 1,
  octetCount: 1,
  reports: [],
});

describe('the numbers of a source', () => {
  it('stay as they are while it goes on, and so do its packets', () => {
    const numbering = new ContinuedNumbering(CLOCK_RATE);
    const packets = [
      { sequenceNumber: 0xffff, timestamp: 0xffffff00 },
      { sequenceNumber: 0, timestamp: 3_000 },
    ].map(packet);
    for (const each of packets) expect(numbering.packet(each, 0)).toBe(each);
  });

  it('continue after a restart: one is skipped, and the time advances by the pause', () => {
    const numbering = new ContinuedNumbering(CLOCK_RATE);
    numbering.packet(packet({ sequenceNumber: 0xfffe, timestamp: 0xffff_ffff }), 1_000);
    numbering.restart();
    const anew = (sequenceNumber: number, timestamp: number, nowMs: number) =>
      numbers(numbering.packet(packet({ sequenceNumber, timestamp, payloadType: 99, ssrc: 8 }), nowMs));
    expect(anew(500, 70_000, 3_000)).toEqual([0, 179_999, 96, 7]);
    expect(anew(501, 73_000, 3_033)).toEqual([1, 182_999, 96, 7]);
    expect(anew(499, 67_000, 3_040)).toEqual([0xffff, 176_999, 96, 7]);
    numbering.restart();
    expect(anew(9, 9, 3_133)).toEqual([3, 191_999, 96, 7]);
  });

  it('are those that the receiver was told, if it was told some', () => {
    const numbering = new ContinuedNumbering(CLOCK_RATE, { payloadType: 111, ssrc: 5 });
    const taken = (sequenceNumber: number, ssrc: number) =>
      numbers(numbering.packet(packet({ sequenceNumber, timestamp: 9_000, ssrc }), 0));
    expect(taken(3, 7)).toEqual([3, 9_000, 111, 5]);
    numbering.restart();
    expect(taken(70, 8)).toEqual([5, 9_090, 111, 5]);
  });

  it('apply to its reports too, which are dropped before its first packet', () => {
    const numbering = new ContinuedNumbering(CLOCK_RATE);
    expect(numbering.report(report(10, 7))).toBeUndefined();
    numbering.packet(packet({ sequenceNumber: 1, timestamp: 1_000 }), 0);
    expect(numbering.report(report(10, 7))).toEqual(report(10, 7));
    numbering.restart();
    expect(numbering.report(report(10, 8))).toBeUndefined();
    numbering.packet(packet({ sequenceNumber: 1, timestamp: 50_000, ssrc: 8 }), 1_000);
    expect(numbering.report(report(50_000, 8))).toEqual(report(91_000, 7));
  });
});
