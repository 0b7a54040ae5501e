import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { SourceClock, type RtpPacket } from '@weir/frames';
import { waitFor } from '@weir/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NativeTrack } from './native-track.js';

const TICKS_PER_FRAME = 3_600;
const SPS = Buffer.from('6742c01edb0280bfe5c0440000030004000003', 'hex');
const PPS = Buffer.from('68ce3c80', 'hex');

let nowMs: number;
let sequence: number;
let keyFramesAtMs: number[];
let track: NativeTrack;
let received: Buffer[];
const receiver = { socket: createSocket('udp4'), port: 0 };

beforeEach(async () => {
  nowMs = 1_000;
  sequence = 0;
  keyFramesAtMs = [];
  received = [];
  track = new NativeTrack({
    description: { kind: 'video', codec: 'H264', clockRate: 90_000, channels: 0, parameters: {} },
    payloadType: 96,
    cname: 'test',
    clock: new SourceClock(),
    transcoding: { lend: () => Promise.reject(new Error('nobody asks')) },
    maxOwnFeeds: 1,
    onKeyFrame: (atMs) => keyFramesAtMs.push(atMs),
    onDescribed: () => undefined,
    nowMs: () => nowMs,
  });
  receiver.socket = createSocket('udp4', (packet) => received.push(packet)).bind(0, '127.0.0.1');
  await once(receiver.socket, 'listening');
  receiver.port = receiver.socket.address().port;
});
afterEach(() => {
  track.close();
  receiver.socket.close();
});

/** A frame with one packet for each NAL unit, 40 ms after the frame before. */
function frame(number: number, ...nalUnits: readonly Buffer[]): void {
  nowMs += 40;
  for (const [index, nalUnit] of nalUnits.entries()) {
    const header = Buffer.alloc(12);
    header[0] = 0x80;
    header[1] = 96 | (index === nalUnits.length - 1 ? 0x80 : 0);
    header.writeUInt16BE(sequence++, 2);
    header.writeUInt32BE(number * TICKS_PER_FRAME, 4);
    header.writeUInt32BE(4_711, 8);
    track.push(Buffer.concat([header, nalUnit]));
  }
}
const keyFrame = (number: number) => frame(number, SPS, PPS, Buffer.from('658884', 'hex'));
const otherFrame = (number: number) => frame(number, Buffer.from('419a24', 'hex'));

const sequencesReceived = () => received.map((packet) => packet.readUInt16BE(2));
const sendFrom = (fromKeyFrame: boolean) => track.sendTo({ ip: '127.0.0.1', port: receiver.port }, { fromKeyFrame });

describe('a track of an RTSP source', () => {
  it('passes on no packet that is not RTP, and goes on', async () => {
    const heard: RtpPacket[] = [];
    await track.listen({ onRtp: (packet) => heard.push(packet) });
    const longerThanItIs = Buffer.from('9060000100000e1000001267bede0040', 'hex');
    for (const bytes of [Buffer.alloc(0), Buffer.from([0x80]), Buffer.alloc(200), longerThanItIs]) track.push(bytes);
    keyFrame(1);
    expect(heard).toHaveLength(3);
    expect(keyFramesAtMs).toHaveLength(1);
  });
});

describe('a track of an RTSP source that is sent to a service', () => {
  it('begins with the first packet of its last key frame, and goes on with what comes', async () => {
    otherFrame(1);
    keyFrame(2);
    otherFrame(3);
    const sent = await sendFrom(true);
    otherFrame(4);
    await waitFor(() => received.length === 5);
    expect(sequencesReceived()).toEqual([1, 2, 3, 4, 5]);
    expect(keyFramesAtMs).toEqual([1_080]);
    sent.close();
  });

  it.each([
    ['when that was not asked for', false, 1],
    ['when the key frame came long ago', true, 30],
  ])('begins with what comes %s', async (_name, fromKeyFrame, framesSince) => {
    keyFrame(1);
    for (let number = 2; number < 2 + framesSince; number++) otherFrame(number);
    const sent = await sendFrom(fromKeyFrame);
    await sent.caughtUp;
    const next = sequence;
    otherFrame(100);
    await waitFor(() => received.length > 0);
    expect(sequencesReceived()).toEqual([next]);
    sent.close();
  });
});
