import { describe, expect, it } from 'vitest';

import { RtpPacket } from './rtp-packet.js';

const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));

const HEADER = 'e0 1234 89abcdef cafebabe';

describe('an RTP packet', () => {
  it('gives its fields and a view of its payload', () => {
    const packet = bytes(`80 ${HEADER} 010203`);
    const parsed = RtpPacket.parse(packet);
    expect(parsed).toMatchObject({
      payloadType: 96,
      marker: true,
      sequenceNumber: 0x1234,
      timestamp: 0x89abcdef,
      ssrc: 0xcafebabe,
      payload: bytes('010203'),
    });
    expect(parsed?.payload.buffer).toBe(packet.buffer);
  });

  it('may be a part of a larger buffer', () => {
    const pool = bytes(`ffffff 80 ${HEADER} 0102 ffff`);
    expect(RtpPacket.parse(pool.subarray(3, 17))).toMatchObject({ ssrc: 0xcafebabe, payload: bytes('0102') });
  });

  it('may have contributing sources, a header extension and padding', () => {
    expect(RtpPacket.parse(bytes(`b2 ${HEADER} 00000001 00000002 bede 0001 10ff0000 aabb 000003`))).toMatchObject({
      payload: bytes('aabb'),
    });
  });

  it('may be nothing but padding, as a probe of the bandwidth is', () => {
    expect(RtpPacket.parse(bytes(`a0 ${HEADER} 00000004`))?.payload).toHaveLength(0);
  });

  it.each([
    ['nothing', ''],
    ['a short header', '80e01234'],
    ['another version', `40 ${HEADER}`],
    ['a missing contributing source', `82 ${HEADER} 00000001`],
    ['a header extension cut off', `90 ${HEADER} bede 0002 10ff0000`],
    ['a header extension without its length', `90 ${HEADER} be`],
    ['more padding than packet', `a0 ${HEADER} 0000000f`],
    ['padding of no bytes', `a0 ${HEADER} 0000`],
  ])('is not read from %s', (_what, hex) => {
    expect(RtpPacket.parse(bytes(hex))).toBeUndefined();
  });
});
