import { describe, expect, it } from 'vitest';
import { FrameProgress } from './frame-progress.js';

/** A frame as a client sends it: masked. */
function frame(opcode: number, payload: Buffer, { fin = true } = {}): Buffer {
  const length = payload.length;
  const head =
    length < 126
      ? Buffer.from([0, 0x80 | length])
      : length < 65_536
        ? Buffer.concat([Buffer.from([0, 0x80 | 126]), Buffer.from([length >> 8, length & 255])])
        : Buffer.concat([Buffer.from([0, 0x80 | 127]), Buffer.from(length.toString(16).padStart(16, '0'), 'hex')]);
  head[0] = (fin ? 0x80 : 0) | opcode;
  return Buffer.concat([head, Buffer.alloc(4), payload]);
}

describe('the progress of frames', () => {
  it.each([0, 1, 125, 126, 65_535, 65_536, 200_000])('sees the end of a message of %i bytes', (length) => {
    const progress = new FrameProgress();
    const bytes = frame(1, Buffer.alloc(length));
    expect(progress.push(bytes.subarray(0, -1))).toBe(false);
    expect(progress.unfinishedBytes).toBe(bytes.length - 1);
    expect(progress.push(bytes.subarray(-1))).toBe(true);
    expect(progress.unfinishedBytes).toBe(0);
  });

  it('is the same however the bytes are split into chunks', () => {
    const bytes = Buffer.concat([
      ...[
        frame(1, Buffer.alloc(300)),
        frame(9, Buffer.alloc(5)),
        frame(2, Buffer.alloc(70_000)),
        frame(1, Buffer.alloc(0)),
      ],
      frame(1, Buffer.alloc(10)).subarray(0, 9),
    ]);
    for (const step of [1, 2, 3, 7, 1_000, bytes.length]) {
      const progress = new FrameProgress();
      for (let at = 0; at < bytes.length; at += step) progress.push(bytes.subarray(at, at + step));
      expect(progress.unfinishedBytes, `in steps of ${step}`).toBe(9);
    }
  });

  it('counts the fragments of a message together, even with a ping between them', () => {
    const progress = new FrameProgress();
    expect(progress.push(frame(1, Buffer.alloc(10), { fin: false }))).toBe(false);
    expect(progress.push(frame(9, Buffer.alloc(3)))).toBe(false);
    expect(progress.push(frame(0, Buffer.alloc(10), { fin: false }))).toBe(false);
    expect(progress.unfinishedBytes).toBeGreaterThan(20);
    expect(progress.push(frame(0, Buffer.alloc(10)))).toBe(true);
    expect(progress.unfinishedBytes).toBe(0);
  });
});
