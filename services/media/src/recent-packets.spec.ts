import { timestampOf } from '@weir/frames';
import { describe, expect, it, vi } from 'vitest';
import { PacedSender } from './paced-sender.js';
import { RecentPackets } from './recent-packets.js';

function packet(rtpTimestamp: number, length = 100): Buffer {
  const bytes = Buffer.alloc(length);
  bytes.writeUInt32BE(rtpTimestamp, 4);
  return bytes;
}

const timestampsOf = (packets: readonly Uint8Array[]) => packets.map(timestampOf);

describe('recent packets', () => {
  const filled = (timestamps: readonly number[], limits = { ageMs: 1_000, bytes: 10_000 }) => {
    const recent = new RecentPackets(limits);
    for (const [index, timestamp] of timestamps.entries()) recent.add(packet(timestamp), index * 10);
    return recent;
  };

  it('begin with the first packet of the last key frame, which is known when its last has come', () => {
    const recent = filled([1, 1, 2, 2, 2]);
    expect(recent.packets).toEqual([]);
    expect(recent.beginWithFrame(2)).toBe(20);
    recent.add(packet(3), 50);
    expect(timestampsOf(recent.packets)).toEqual([2, 2, 2, 3]);
  });

  it('of another track begin when the key frame came', () => {
    const recent = filled([7, 8, 9]);
    recent.beginAt(15);
    expect(timestampsOf(recent.packets)).toEqual([9]);
    recent.beginAt(100);
    recent.add(packet(10), 110);
    expect(timestampsOf(recent.packets)).toEqual([10]);
  });

  it('are of no use any more when the key frame came long ago, or too much has come since', () => {
    const late = filled([1, 2, 3]);
    late.beginWithFrame(1);
    late.add(packet(4), 1_001);
    expect(late.packets).toEqual([]);
    expect(late.beginWithFrame(4)).toBe(1_001);
    const large = filled([1, 2, 3], { ageMs: 1_000, bytes: 350 });
    large.beginWithFrame(1);
    large.add(packet(4), 30);
    expect(large.packets).toEqual([]);
  });

  it('are none when the key frame is no longer kept', () => {
    const recent = filled([1, 2]);
    expect(recent.beginWithFrame(9)).toBeUndefined();
    expect(recent.packets).toEqual([]);
  });
});

describe('a paced sender', () => {
  it('sends what had piled up in small groups, then what has come meanwhile, in order', async () => {
    const sent: number[] = [];
    const piledUp = Array.from({ length: 45 }, (_packet, index) => packet(index));
    const sender = new PacedSender(piledUp, (bytes) => sent.push(timestampOf(bytes)));
    sender.push(packet(45));
    expect(sent).toEqual([]);
    await Promise.resolve();
    expect(sent.length).toBeLessThan(45);
    await sender.caughtUp;
    sender.push(packet(46));
    expect(sent).toEqual(Array.from({ length: 47 }, (_packet, index) => index));
  });

  it('waits for what must be sent first', async () => {
    const sent = vi.fn();
    const first = new PacedSender([packet(1)], () => sent('video'));
    const second = new PacedSender([packet(2)], () => sent('audio'), first.caughtUp);
    await second.caughtUp;
    expect(sent.mock.calls).toEqual([['video'], ['audio']]);
  });

  it('sends nothing more when it is closed, and nobody waits for it in vain', async () => {
    const sent = vi.fn();
    const sender = new PacedSender([packet(1)], sent);
    sender.close();
    sender.push(packet(2));
    await sender.caughtUp;
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(sent).not.toHaveBeenCalled();
  });
});
