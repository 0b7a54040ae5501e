import { describe, expect, it } from 'vitest';
import { parseRtcp } from '@weir/frames';
import { SentTrack } from './sent-track.js';

const packet = (sequenceNumber: number, timestamp: number, { ssrc = 1, marker = false, first = 0x80 } = {}): Buffer => {
  const bytes = Buffer.alloc(16, 9);
  bytes.writeUInt8(first, 0);
  bytes.writeUInt8(96 | (marker ? 0x80 : 0), 1);
  bytes.writeUInt16BE(sequenceNumber & 0xffff, 2);
  bytes.writeUInt32BE(timestamp, 4);
  bytes.writeUInt32BE(ssrc, 8);
  return bytes;
};

const newTrack = (absSendTimeId?: number) => {
  const sent: Buffer[] = [];
  let isUp = true;
  const track = new SentTrack({
    ssrc: 0xaabb_ccdd,
    payloadType: 102,
    clockRate: 90_000,
    cname: 'c',
    absSendTimeId,
    protect: (header, payload) => (isUp ? Buffer.concat([header, payload, Buffer.from('sealed')]) : undefined),
    send: (sealed) => sent.push(sealed),
  });
  return { track, sent, goesDown: () => (isUp = false) };
};

const numbersOf = (packets: readonly Buffer[]) => packets.map((each) => each.readUInt16BE(2));

describe('a sent track', () => {
  it('rewrites SSRC and payload type and leaves payloads alone', () => {
    const { track, sent } = newTrack();
    track.forward(packet(7, 900, { marker: true }), 0);
    const [only] = sent;
    expect(only?.subarray(0, 12).toString('hex')).toBe('80e6000700000384aabbccdd');
    expect(only?.subarray(12).toString('latin1')).toBe('\t\t\t\tsealed');
  });

  it('removes header extensions that the remote does not know, and writes the send time if the remote wants it', () => {
    const { track, sent } = newTrack(3);
    const extended = Buffer.concat([
      packet(1, 1, { first: 0x90 }).subarray(0, 12),
      Buffer.from('bede00011000ff00', 'hex'),
      Buffer.from('payload'),
    ]);
    track.forward(extended, 500);
    expect(sent[0]?.readUInt8(0)).toBe(0x90);
    // Half a second: 0.5 * 2^18 after 6 bits of seconds, which are 0 because 2208988800 is a multiple of 64.
    expect(sent[0]?.subarray(12, 20).toString('hex')).toBe('bede000132020000');
    expect(sent[0]?.subarray(20).toString('latin1')).toBe('payloadsealed');
  });

  it('sends exactly the same packet again, but not twice in a moment, and not an old one', () => {
    const { track, sent } = newTrack();
    for (let index = 0; index < 5; index += 1) track.forward(packet(65_534 + index, index), 1_000);
    track.resend([65_535, 0], 1_100);
    track.resend([65_535], 1_110);
    expect(numbersOf(sent.slice(5))).toEqual([65_535, 0]);
    expect(sent[5]).toBe(sent[1]);
    track.resend([65_535], 1_200);
    expect(sent).toHaveLength(8);
    track.resend([1, 77], 3_500);
    expect(sent).toHaveLength(8);
    expect(track.stats).toMatchObject({ packets: 5, resent: 3, forgotten: 2 });
  });

  it('doesn’t send again what is still under way on a slow path', () => {
    const { track, sent } = newTrack();
    track.forward(packet(1, 1), 0);
    track.senderReport({ ntpSeconds: 0, ntpFraction: 0, rtpTimestamp: 0 }, 0);
    const report = { ssrc: 1, fractionLost: 0, packetsLost: 0, highestSequenceNumber: 1, jitter: 0 };
    track.reported({ ...report, lastSenderReport: 0, delaySinceLastSenderReport: 0 }, 300);
    for (let nowMs = 400; nowMs < 1_000; nowMs += 40) track.resend([1], nowMs);
    expect(sent).toHaveLength(3);
  });

  it('does not fill a path with repetitions', () => {
    const { track, sent } = newTrack();
    for (let index = 0; index < 1_000; index += 1) track.forward(packet(index, 0), 0);
    track.resend(
      Array.from({ length: 900 }, (_, index) => index),
      100,
    );
    expect(sent).toHaveLength(1_200);
    for (let index = 1_000; index < 1_020; index += 1) track.forward(packet(index, 0), 100);
    track.resend(
      Array.from({ length: 900 }, (_, index) => index + 100),
      200,
    );
    expect(sent).toHaveLength(1_230);
  });

  it('forgets nothing of a second with 1000 packets', () => {
    const { track, sent } = newTrack();
    for (let index = 0; index < 1_024; index += 1) track.forward(packet(index, 0), index);
    track.resend([0, 1_023], 1_024);
    expect(sent).toHaveLength(1_026);
  });

  it('goes on without a break when another source takes over', () => {
    const { track, sent } = newTrack();
    track.forward(packet(65_535, 1_000, { ssrc: 1 }), 0);
    track.forward(packet(40, 500_000, { ssrc: 2 }), 100);
    track.forward(packet(42, 503_000, { ssrc: 2 }), 133);
    expect(numbersOf(sent)).toEqual([65_535, 0, 2]);
    expect(sent.map((each) => each.readUInt32BE(4))).toEqual([1_000, 10_000, 13_000]);
  });

  it('sends nothing while the path isn’t up', () => {
    const { track, sent, goesDown } = newTrack();
    goesDown();
    track.forward(packet(1, 1), 0);
    track.resend([1], 100);
    expect(sent).toEqual([]);
    expect(track.stats.packets).toBe(0);
  });

  it('passes on the source’s clock, and learns the round trip from the answer', () => {
    const { track } = newTrack();
    track.forward(packet(1, 1), 0);
    const [message] = parseRtcp(
      track.senderReport({ ntpSeconds: 0x1234_5678, ntpFraction: 0x9abc_def0, rtpTimestamp: 9 }, 1_000),
    );
    expect(message).toMatchObject({
      tag: 'sender-report',
      ssrc: 0xaabb_ccdd,
      ntpSeconds: 0x1234_5678,
      rtpTimestamp: 9,
    });
    const report = { ssrc: 0xaabb_ccdd, fractionLost: 0.1, packetsLost: 1, highestSequenceNumber: 1, jitter: 0 };
    track.reported({ ...report, lastSenderReport: 0x5678_9abc, delaySinceLastSenderReport: 0x8000 }, 1_540);
    expect(track.stats).toMatchObject({ fractionLost: 0.1, rttMs: 40 });
  });

  it('drops what isn’t RTP', () => {
    const { track, sent } = newTrack();
    for (const bytes of [Buffer.alloc(0), Buffer.alloc(11, 0x80), Buffer.alloc(20, 0x9f), Buffer.from('hello world!')])
      track.forward(bytes, 0);
    expect(sent).toEqual([]);
  });
});
