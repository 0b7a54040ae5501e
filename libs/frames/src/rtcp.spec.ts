import { randomBytes } from 'node:crypto';
import { RtcpPacketConverter } from 'werift';
import { describe, expect, it } from 'vitest';
import {
  parseRtcp,
  writeDescription,
  writeNack,
  writePictureLoss,
  writeReceiverReport,
  writeSenderReport,
} from './rtcp.js';
import { isRtcp } from './rtp-packet.js';

const report = {
  ssrc: 5,
  fractionLost: 0.25,
  packetsLost: -3,
  highestSequenceNumber: 70_000,
  jitter: 12,
  lastSenderReport: 0xdead_beef,
  delaySinceLastSenderReport: 65_536,
};

describe('RTCP', () => {
  it('reads what it writes', () => {
    const time = { ntpSeconds: 3_900_000_000, ntpFraction: 77 };
    const sender = { ssrc: 1, ...time, rtpTimestamp: 4_000_000_000, packetCount: 3, octetCount: 4 };
    const compound = Buffer.concat([
      writeSenderReport(sender),
      writeDescription(1, 'somebody'),
      writeReceiverReport(2, [report]),
      writeNack(2, 5, [10, 12, 26, 27, 65_535, 0]),
      writePictureLoss(2, 5),
      Buffer.from('81cb000100000002', 'hex'),
    ]);
    expect(isRtcp(compound)).toBe(true);
    expect(parseRtcp(compound)).toEqual([
      { tag: 'sender-report', ...sender, reports: [] },
      { tag: 'receiver-report', ssrc: 2, reports: [report] },
      { tag: 'nack', mediaSsrc: 5, sequenceNumbers: [10, 12, 26, 27, 65_535, 0] },
      { tag: 'picture-loss', mediaSsrc: 5 },
      { tag: 'bye', ssrcs: [2] },
    ]);
  });

  it('is understood by another implementation', () => {
    const compound = Buffer.concat([
      writeReceiverReport(2, [{ ...report, packetsLost: 3 }]),
      writeDescription(2, 'abc'),
      writePictureLoss(2, 5),
      writeNack(2, 5, [10, 12]),
    ]);
    const read = RtcpPacketConverter.deSerialize(compound);
    expect(read.map(({ type }) => type)).toEqual([201, 202, 206, 205]);
    expect(read[0]).toMatchObject({ ssrc: 2, reports: [{ ssrc: 5, fractionLost: 64, packetsLost: 3, jitter: 12 }] });
    expect(read[3]).toMatchObject({ feedback: { mediaSourceSsrc: 5, lost: [10, 12] } });
    expect(read[2]).toMatchObject({ feedback: { mediaSsrc: 5, senderSsrc: 2 } });
  });

  it('reads a full intra request and an estimate of the bit rate', () => {
    const request = Buffer.from('84ce000400000001000000000000000709000000', 'hex');
    expect(parseRtcp(request)).toEqual([{ tag: 'full-intra-request', mediaSsrcs: [7] }]);
    // 2^3 * 250000 bit/s for one SSRC.
    const remb = Buffer.concat([
      Buffer.from('8fce00050000000100000000', 'hex'),
      Buffer.from('REMB'),
      Buffer.from([1, (3 << 2) | (250_000 >> 16), (250_000 >> 8) & 0xff, 250_000 & 0xff]),
      Buffer.from('00000007', 'hex'),
    ]);
    expect(parseRtcp(remb)).toEqual([{ tag: 'estimated-max-bitrate', bps: 2_000_000 }]);
  });

  it('survives whatever bytes arrive', () => {
    for (let round = 0; round < 5_000; round += 1) {
      const bytes = randomBytes(round % 64);
      if (bytes.length > 3) {
        bytes.writeUInt8(0x80 | (bytes.readUInt8(0) & 0x1f), 0);
        bytes.writeUInt8(200 + (round % 7), 1);
        bytes.writeUInt16BE(round % 16, 2);
      }
      expect(Array.isArray(parseRtcp(bytes))).toBe(true);
    }
  });
});
