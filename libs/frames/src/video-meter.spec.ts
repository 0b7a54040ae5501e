import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

import { RtpPacket } from './rtp-packet.js';
import { VideoMeter } from './video-meter.js';

const recorded = (codec: string) =>
  readFileSync(new URL(`./fixtures/${codec.toLowerCase()}.rtp.hex`, import.meta.url), 'utf8')
    .trim()
    .split('\n')
    .map((line) => Uint8Array.from(Buffer.from(line, 'hex')));

/** Bytes that aren't a packet are not fed. */
function feed(meter: VideoMeter, bytes: Uint8Array, nowMs: number): boolean {
  const packet = RtpPacket.parse(bytes);
  return packet !== undefined && meter.feed(packet, nowMs);
}

/** An RTP packet of a VP8 interframe, 100 bytes long. */
function interframe(timestamp: number, sequenceNumber = 0): Uint8Array {
  const packet = new Uint8Array(100);
  const view = new DataView(packet.buffer);
  view.setUint16(0, 0x8060);
  view.setUint16(2, sequenceNumber);
  view.setUint32(4, timestamp);
  view.setUint16(12, 0x1001);
  return packet;
}

describe('a recorded video of two seconds, ten frames a second and a key frame each second', () => {
  it.each(['H264', 'VP8', 'VP9'] as const)('is measured: %s', (codec) => {
    const packets = recorded(codec);
    const meter = new VideoMeter(codec);
    const start = new DataView(packets[0]?.buffer ?? new ArrayBuffer(12)).getUint32(4);
    const changes = packets.filter((packet) => {
      const timestamp = new DataView(packet.buffer).getUint32(4);
      return feed(meter, packet, 5000 + (timestamp - start) / 90);
    });
    expect(meter).toMatchObject({ frames: 20, keyFrames: 2, width: 180, height: 100 });
    expect(changes).toHaveLength(1);
    const byteCount = packets.reduce((sum, packet) => sum + packet.length, 0);
    expect(meter.sample(7000)).toEqual({ fps: 10, bps: (byteCount * 8) / 2 });
  });
});

describe('the rates', () => {
  it('are those since the last sample', () => {
    const meter = new VideoMeter('VP8');
    for (let frame = 0; frame < 30; frame++) feed(meter, interframe(frame * 3000), frame * 33);
    expect(meter.sample(1000)).toEqual({ fps: 30, bps: 24000 });
    feed(meter, interframe(90000), 1500);
    expect(meter.sample(2000)).toEqual({ fps: 1, bps: 800 });
    expect(meter.sample(3000)).toEqual({ fps: 0, bps: 0 });
  });

  it('are 0 before the first packet and over no time', () => {
    const meter = new VideoMeter('VP8');
    expect(meter.sample(1000)).toEqual({ fps: 0, bps: 0 });
    feed(meter, interframe(1), 2000);
    expect(meter.sample(2000)).toEqual({ fps: 0, bps: 0 });
    expect(meter.sample(3000)).toEqual({ fps: 1, bps: 800 });
  });
});

describe('a frame', () => {
  it('counts once however many packets it has, late ones included', () => {
    const meter = new VideoMeter('VP8');
    for (const timestamp of [0, 0, 3000, 0, 3000, 6000]) feed(meter, interframe(timestamp), 0);
    expect(meter.frames).toBe(3);
  });

  it('counts over the wrap of the timestamp', () => {
    const meter = new VideoMeter('VP8');
    for (const timestamp of [0xfffff000, 0xfffffff0, 0x00000ba8]) feed(meter, interframe(timestamp), 0);
    expect(meter.frames).toBe(3);
  });

  it('is not counted for padding or garbage, but padding counts as bytes sent', () => {
    const meter = new VideoMeter('VP8');
    const padding = interframe(3000);
    padding[0] = 0xa0;
    padding[99] = 88;
    feed(meter, padding, 0);
    feed(meter, new Uint8Array([1, 2, 3]), 0);
    expect(meter.frames).toBe(0);
    expect(meter.sample(1000)).toEqual({ fps: 0, bps: 800 });
  });
});

it('tells when the size changes in the middle of a stream', () => {
  const meter = new VideoMeter('VP8');
  const keyFrame = (width: number, height: number) => {
    const packet = interframe(width);
    packet.set([0x10, 0x50, 0, 0, 0x9d, 0x01, 0x2a, width & 255, width >> 8, height & 255, height >> 8], 12);
    return packet;
  };
  expect(feed(meter, keyFrame(640, 360), 0)).toBe(true);
  expect(feed(meter, keyFrame(640, 360), 1)).toBe(false);
  expect(feed(meter, keyFrame(320, 180), 2)).toBe(true);
  expect(meter).toMatchObject({ width: 320, height: 180, keyFrames: 2 });
});
