import { create } from '@bufbuild/protobuf';
import { MediaKind, TappedTrackSchema } from '@weir/contracts';
import { parseAnswer } from '@weir/sdp';
import { describe, expect, it } from 'vitest';
import { agreedCodec, offeredCodecOf, receivedTrack } from './codecs.js';
import { originalAnswer } from './testing/answers.js';

const tapped = (codec: string, clockRate: number, parameters: Record<string, string> = {}) =>
  create(TappedTrackSchema, {
    track: { kind: MediaKind.VIDEO, codec, clockRate, parameters },
    payloadType: 1,
    ssrc: 2,
  });
const [audio, video] = parseAnswer(originalAnswer({ direction: 'recvonly' })).media;

describe('a tapped track', () => {
  it('is offered as its source describes it', () => {
    const offered = offeredCodecOf(
      tapped('H264', 90_000, { 'profile-level-id': '640028', 'sprop-parameter-sets': 'Z,a' }),
    );
    expect(offered).toMatchObject({
      name: 'H264',
      parameters: { 'profile-level-id': '640028', 'packetization-mode': '1', 'level-asymmetry-allowed': '1' },
    });
    expect(offeredCodecOf(tapped('VP8', 90_000))).toMatchObject({ name: 'VP8', payloadType: 96, parameters: {} });
  });

  it('of a codec that WebRTC servers don’t take isn’t offered', () => {
    for (const [codec, clockRate] of [
      ['H265', 90_000],
      ['MPEG4-GENERIC', 48_000],
      ['opus', 16_000],
      ['G722', 16_000],
      ['', 0],
    ] as const)
      expect(offeredCodecOf(tapped(codec, clockRate))).toBeUndefined();
  });

  it('can’t write lines of its own into the offer', () => {
    const offered = offeredCodecOf(tapped('H264', 90_000, { 'profile-level-id': '42e01f\r\na=evil' }));
    expect(offered?.parameters['profile-level-id']).toBe('42e01f');
  });
});

describe('the agreed codec', () => {
  const h264 = (payloadType: number, mode: string, profile: string) => ({
    ...{ payloadType, name: 'H264', clockRate: 90_000, channels: 1 },
    parameters: { 'packetization-mode': mode, 'profile-level-id': profile },
  });

  it('is the answered one of the same packetization, by profile and then by number', () => {
    expect(agreedCodec(h264(102, '1', '42e01f'), video?.codecs ?? [])?.payloadType).toBe(127);
    expect(agreedCodec(h264(127, '1', '640028'), video?.codecs ?? [])?.payloadType).toBe(127);
    expect(agreedCodec(h264(102, '1', '640028'), video?.codecs ?? [])?.payloadType).toBe(100);
    expect(agreedCodec(h264(102, '0', '42e01f'), video?.codecs ?? [])?.payloadType).toBe(125);
  });

  it('is none where the server takes only another profile', () => {
    const av1 = { payloadType: 99, name: 'AV1', clockRate: 90_000, channels: 1, parameters: { profile: '1' } };
    const answered = (profile: string) => [{ ...av1, parameters: { profile } }];
    expect(agreedCodec(av1, answered('0'))).toBeUndefined();
    expect(agreedCodec(av1, answered('1'))?.payloadType).toBe(99);
  });

  it('is none where the server takes only others', () => {
    const vp9 = { payloadType: 98, name: 'VP9', clockRate: 90_000, channels: 1, parameters: {} };
    expect(agreedCodec(vp9, video?.codecs ?? [])).toBeUndefined();
  });
});

describe('a received track', () => {
  it('is described to the media core with numbers of our own', () => {
    const opus = audio?.codecs.find(({ name }) => name === 'opus');
    expect(opus && receivedTrack(opus, 9)).toEqual({
      payloadType: 111,
      ssrc: 9,
      track: { kind: MediaKind.AUDIO, codec: 'opus', clockRate: 48_000, channels: 2, parameters: {} },
    });
    const first = video?.codecs[0];
    expect(first && receivedTrack(first, 9)?.track.parameters).toMatchObject({ 'profile-level-id': '42001f' });
  });
});
