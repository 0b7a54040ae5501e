import { describe, expect, it } from 'vitest';

import {
  createFrameAssembler,
  type Frame,
  type FrameAssemblerOptions,
  type NalFrame,
  writeRtpPacket,
} from './index.js';

const SPS = Uint8Array.of(0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x47, 0xfe, 0x88);
const SMALLER_SPS = Uint8Array.of(0x67, 0x42, 0xc0, 0x0d, 0xd9, 0x01, 0x41, 0xfb, 0x01, 0x10);
const PPS = Uint8Array.of(0x68, 0xce, 0x38, 0x80);
const KEY_SLICE = Uint8Array.of(0x65, 0x88, 0x84, 1, 2, 3);
const SLICE = Uint8Array.of(0x41, 0x9a, 0x24, 4, 5, 6);
const LATER_SLICE = Uint8Array.of(0x41, 0x5a, 0x24, 7, 8, 9);

interface Sent {
  sequenceNumber: number;
  timestamp: number;
  payload: Uint8Array;
  marker?: boolean;
  ssrc?: number;
}

const packet = ({ marker = true, ssrc = 1, payload, ...rest }: Sent) =>
  new Uint8Array(writeRtpPacket({ payloadType: 96, marker, ssrc, ...rest }, payload));

const stapA = (...nalUnits: Uint8Array[]) =>
  Uint8Array.from([24, ...nalUnits.flatMap((nalUnit) => [0, nalUnit.length, ...nalUnit])]);

const h264 = (options: Partial<FrameAssemblerOptions> = {}) =>
  createFrameAssembler({ codec: 'H264', clockRate: 90_000, ...options });

const keyFrameAt = (sequenceNumber: number, timestamp: number, sps = SPS) =>
  packet({ sequenceNumber, timestamp, payload: stapA(sps, PPS, KEY_SLICE) });
const deltaAt = (sequenceNumber: number, timestamp: number) => packet({ sequenceNumber, timestamp, payload: SLICE });

const summary = (frames: Frame[]) =>
  frames.map(({ rtpTimestamp, isKeyFrame, complete, lost }) => ({ rtpTimestamp, isKeyFrame, complete, lost }));
const times = (frames: Frame[]) => frames.map(({ rtpTimestamp }) => rtpTimestamp);

describe('order of packets', () => {
  it('puts packets in order and drops duplicates', () => {
    const assembler = h264();
    const packets = [
      keyFrameAt(10, 0),
      deltaAt(12, 6000),
      deltaAt(12, 6000),
      deltaAt(11, 3000),
      deltaAt(11, 3000),
      deltaAt(13, 9000),
    ];
    expect(times(packets.flatMap((bytes) => assembler.push(bytes)))).toEqual([0, 3000, 6000, 9000]);
  });

  it('follows sequence numbers and timestamps beyond their wrap', () => {
    const assembler = h264();
    const start = 2 ** 32 - 4500;
    const frames = [0, 1, 2, 3].flatMap((index) =>
      assembler.push(deltaAt((65_534 + index) & 0xffff, (start + index * 3000) % 2 ** 32)),
    );
    expect(times(frames)).toEqual([start, start + 3000, start + 6000, start + 9000]);
  });

  it('gives up a missing packet after a bounded media time; frames up to the next key frame are incomplete', () => {
    const assembler = h264({ maxReorderMs: 100 });
    const early = [keyFrameAt(0, 0), deltaAt(2, 6000), deltaAt(3, 9000), deltaAt(4, 12_000)];
    expect(times(early.flatMap((bytes) => assembler.push(bytes)))).toEqual([0]);
    const late = [deltaAt(5, 18_000), keyFrameAt(6, 21_000)];
    expect(summary(late.flatMap((bytes) => assembler.push(bytes)))).toEqual([
      { rtpTimestamp: 6000, isKeyFrame: false, complete: false, lost: true },
      { rtpTimestamp: 9000, isKeyFrame: false, complete: false, lost: false },
      { rtpTimestamp: 12_000, isKeyFrame: false, complete: false, lost: false },
      { rtpTimestamp: 18_000, isKeyFrame: false, complete: false, lost: false },
      { rtpTimestamp: 21_000, isKeyFrame: true, complete: true, lost: false },
    ]);
  });

  it('holds no more packets than it was told to', () => {
    const assembler = h264({ maxReorderPackets: 4, maxReorderMs: 60_000 });
    assembler.push(keyFrameAt(0, 0));
    const counts = [2, 3, 4, 5, 6].map((number) => assembler.push(deltaAt(number, number * 3000)).length);
    expect(counts).toEqual([0, 0, 0, 0, 5]);
  });

  it('counts the number of a packet that is only padding, and drops the packet', () => {
    const assembler = h264();
    const probe = writeRtpPacket(
      { payloadType: 96, marker: false, ssrc: 1, sequenceNumber: 1, timestamp: 0 },
      Uint8Array.of(0, 0, 3),
    );
    probe[0]! |= 0x20;
    const frames = [keyFrameAt(0, 0), probe, deltaAt(2, 3000)].flatMap((bytes) => assembler.push(bytes));
    expect(summary(frames)).toMatchObject([{ complete: true }, { complete: true, lost: false }]);
  });

  it('stays with its source, and takes a new one only when that one keeps sending', () => {
    const assembler = h264();
    assembler.push(keyFrameAt(0, 0));
    const stray = packet({ ssrc: 9, sequenceNumber: 500, timestamp: 77, payload: SLICE });
    expect(assembler.push(stray)).toEqual([]);
    expect(times(assembler.push(deltaAt(1, 3000)))).toEqual([3000]);
    const again = packet({
      ssrc: 9,
      sequenceNumber: 700,
      timestamp: 1_000_000,
      marker: false,
      payload: stapA(SMALLER_SPS, PPS),
    });
    expect(assembler.push(again)).toEqual([]);
    const frames = assembler.push(packet({ ssrc: 9, sequenceNumber: 701, timestamp: 1_000_000, payload: KEY_SLICE }));
    expect(summary(frames)).toEqual([{ rtpTimestamp: 1_000_000, isKeyFrame: true, complete: true, lost: true }]);
    expect((frames[0] as NalFrame).parameterSets?.sps).toEqual([SMALLER_SPS]);
    expect(assembler.ssrc).toBe(9);
  });

  it('follows a numbering that starts again', () => {
    const assembler = h264();
    assembler.push(keyFrameAt(100, 0));
    expect(assembler.push(keyFrameAt(30_000, 9_000_000))).toEqual([]);
    expect(summary(assembler.push(deltaAt(30_001, 9_003_000)))).toEqual([
      { rtpTimestamp: 9_000_000, isKeyFrame: true, complete: true, lost: true },
      { rtpTimestamp: 9_003_000, isKeyFrame: false, complete: true, lost: false },
    ]);
  });
});

describe('access units', () => {
  it('drops a picture of which a packet is missing', () => {
    const assembler = h264({ maxReorderMs: 10 });
    const fragment = (header: number, body: number) => Uint8Array.of(0x7c, header, body, body);
    const packets = [
      keyFrameAt(0, 0),
      packet({ sequenceNumber: 1, timestamp: 3000, marker: false, payload: fragment(0x81, 0x80) }),
      packet({ sequenceNumber: 3, timestamp: 3000, payload: fragment(0x41, 2) }),
      deltaAt(4, 6000),
    ];
    expect(summary(packets.flatMap((bytes) => assembler.push(bytes)))).toEqual([
      { rtpTimestamp: 0, isKeyFrame: true, complete: true, lost: false },
      { rtpTimestamp: 6000, isKeyFrame: false, complete: false, lost: true },
    ]);
  });

  it('ends a picture without a marker at the next timestamp', () => {
    const assembler = h264();
    const first = packet({ sequenceNumber: 0, timestamp: 0, marker: false, payload: stapA(SPS, PPS, KEY_SLICE) });
    expect(assembler.push(first)).toEqual([]);
    expect(
      times(assembler.push(packet({ sequenceNumber: 1, timestamp: 3000, marker: false, payload: SLICE }))),
    ).toEqual([0]);
    expect(times(assembler.flush())).toEqual([3000]);
  });

  it('drops the beginning of a picture when the stream ends in the middle of it', () => {
    const assembler = h264();
    expect(times(assembler.push(keyFrameAt(0, 0)))).toEqual([0]);
    assembler.push(packet({ sequenceNumber: 1, timestamp: 3000, marker: false, payload: SLICE }));
    expect(assembler.flush()).toEqual([]);

    const vp8 = createFrameAssembler({ codec: 'VP8', clockRate: 90_000 });
    // RFC 7741 §4.2: S and the partition's index; the frame's first bit is 0 for a key frame.
    const part = (start: boolean) => Uint8Array.of(start ? 0x10 : 0, 0, 1, 2, 0x9d, 0x01, 0x2a, 64, 0, 64, 0);
    expect(times(vp8.push(packet({ sequenceNumber: 0, timestamp: 0, marker: true, payload: part(true) })))).toEqual([
      0,
    ]);
    vp8.push(packet({ sequenceNumber: 1, timestamp: 3000, marker: false, payload: part(true) }));
    expect(vp8.flush()).toEqual([]);
  });

  it('learns that a sender marks each slice, and then joins the slices by their time', () => {
    const assembler = h264();
    let sequenceNumber = 0;
    const send = (timestamp: number, payload: Uint8Array) =>
      assembler.push(packet({ sequenceNumber: sequenceNumber++, timestamp, payload })) as NalFrame[];
    send(0, stapA(SPS, PPS, KEY_SLICE));
    send(0, LATER_SLICE);
    const frames = [3000, 6000, 9000].flatMap((time) => [...send(time, SLICE), ...send(time, LATER_SLICE)]);
    expect(frames.map((frame) => [frame.rtpTimestamp, frame.nalUnits.length])).toEqual([
      [3000, 2],
      [6000, 2],
    ]);
  });

  it('shows a change of parameter sets by another object, and a repetition by the same one', () => {
    const assembler = h264();
    const packets = [keyFrameAt(0, 0), keyFrameAt(1, 3000), keyFrameAt(2, 6000, SMALLER_SPS)];
    const sets = (packets.flatMap((bytes) => assembler.push(bytes)) as NalFrame[]).map((frame) => frame.parameterSets);
    expect(sets[1]).toBe(sets[0]);
    expect(sets[2]).not.toBe(sets[0]);
    expect(sets[2]?.sps).toEqual([SMALLER_SPS]);
  });

  it('makes no frame of a packet with parameter sets alone, and uses them for the next key frame', () => {
    const assembler = h264();
    expect(assembler.push(packet({ sequenceNumber: 0, timestamp: 0, payload: stapA(SPS, PPS) }))).toEqual([]);
    const [frame] = assembler.push(packet({ sequenceNumber: 1, timestamp: 0, payload: KEY_SLICE })) as NalFrame[];
    expect(frame?.parameterSets).toEqual({ vps: [], sps: [SPS], pps: [PPS] });
    expect(frame?.nalUnits).toEqual([KEY_SLICE]);
  });

  it('finds several AAC access units in one packet, and one that spans several packets', () => {
    const assembler = createFrameAssembler({
      codec: 'MPEG4-GENERIC',
      clockRate: 48_000,
      parameters: { config: '1190' },
    });
    const aac = (sequenceNumber: number, timestamp: number, marker: boolean, ...payload: number[]) =>
      assembler.push(packet({ sequenceNumber, timestamp, marker, payload: Uint8Array.from(payload) }));
    const two = aac(0, 0, true, 0, 32, 0, 2 << 3, 0, 3 << 3, 1, 2, 3, 4, 5);
    expect(two.map((frame) => [frame.rtpTimestamp, 'data' in frame && [...frame.data]])).toEqual([
      [0, [1, 2]],
      [1024, [3, 4, 5]],
    ]);
    expect(aac(1, 2048, false, 0, 16, 0, 4 << 3, 6, 7)).toEqual([]);
    expect(aac(2, 2048, true, 0, 16, 0, 4 << 3, 8, 9)).toMatchObject([
      { rtpTimestamp: 2048, data: Uint8Array.of(6, 7, 8, 9) },
    ]);
  });
});

/** A small generator with a seed, so that a failure can be repeated. */
function randomBytes(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> 24;
  };
}

describe('garbage', () => {
  const codecs = ['H264', 'H265', 'VP8', 'VP9', 'opus', 'MPEG4-GENERIC', 'PCMU', 'PCMA'] as const;

  it.each(codecs)('never makes the %s assembler throw, and what follows it is assembled', (codec) => {
    const next = randomBytes(codecs.indexOf(codec) + 1);
    const assembler = createFrameAssembler({ codec, clockRate: 90_000, parameters: { config: '1190' }, ssrc: 1 });
    for (let round = 0; round < 20_000; round++) {
      const payload = Uint8Array.from({ length: next() % 40 }, next);
      const isRaw = next() < 32;
      const header = { sequenceNumber: round, timestamp: Math.floor(round / 3) * 3000, marker: next() < 100 };
      assembler.push(isRaw ? payload : packet({ ...header, payload }));
    }
    assembler.flush();
    if (codec !== 'H264') return;
    assembler.push(keyFrameAt(20_001, 90_000_000));
    const frames = Array.from({ length: 100 }, (_, index) =>
      assembler.push(deltaAt(20_002 + index, 90_003_000 + index * 3000)),
    ).flat();
    expect(frames.at(-1)).toMatchObject({ complete: true, parameterSets: { sps: [SPS] } });
  });

  it('in parameter sets gives key frames without parameter sets or with some, but never an error', () => {
    const next = randomBytes(99);
    const kinds = new Set<string>();
    for (let round = 0; round < 3_000; round++) {
      const assembler = h264();
      const sps = Uint8Array.from([0x67, ...Array.from({ length: next() % 30 }, next)]);
      const pps = Uint8Array.from([0x68, ...Array.from({ length: next() % 10 }, next)]);
      const [frame] = assembler.push(packet({ sequenceNumber: 0, timestamp: 0, payload: stapA(sps, pps, KEY_SLICE) }));
      kinds.add(typeof (frame as NalFrame).parameterSets);
    }
    expect(kinds).toContain('undefined');
  });
});
