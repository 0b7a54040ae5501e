import type { RtpCodecCapability } from '@weir/sdp';
import { describe, expect, it } from 'vitest';
import { dialectKey } from './dialect.js';

const codec = (mimeType: string, preferredPayloadType: number, parameters = {}): RtpCodecCapability => ({
  kind: mimeType.startsWith('audio') ? 'audio' : 'video',
  ...{ mimeType, preferredPayloadType, parameters, clockRate: 90_000, rtcpFeedback: [] },
});
const OPUS = codec('audio/opus', 111);
const H264 = { 'packetization-mode': 1, 'profile-level-id': '42e01f' };

describe('the dialect', () => {
  it('is the same for codecs in another order, with parameters in another order', () => {
    expect(dialectKey([OPUS, codec('video/H264', 102, H264)])).toBe(
      dialectKey([
        codec('video/h264', 102, Object.fromEntries(Object.entries(H264).reverse())),
        { ...OPUS, channels: 1 },
      ]),
    );
  });

  it.each([
    ['payload type', codec('video/H264', 103, H264)],
    ['codec', codec('video/VP8', 102, H264)],
    ['profile', codec('video/H264', 102, { ...H264, 'profile-level-id': '64001f' })],
  ])('differs with another %s', (_what, other) => {
    expect(dialectKey([OPUS, other])).not.toBe(dialectKey([OPUS, codec('video/H264', 102, H264)]));
  });
});
