import { codecNamed, type TrackDescription } from '@weir/frames';
import { describe, expect, it } from 'vitest';
import { needsTranscoding, planStream } from './track-plan.js';

const video = (name: string): TrackDescription => ({
  kind: 'video',
  codec: codecNamed(name),
  clockRate: 90_000,
  channels: 0,
  parameters: {},
});
const audio = (name: string, parameters = {}): TrackDescription => ({
  kind: 'audio',
  codec: codecNamed(name),
  clockRate: 48_000,
  channels: 2,
  parameters,
});

describe('what is done with a track', () => {
  it.each([
    ['H264', 'as-is'],
    ['h264', 'as-is'],
    ['H265', 'as-is'],
    ['VP8', 'transcode'],
    ['VP9', 'transcode'],
    ['JPEG', 'transcode'],
    ['MP4V-ES', 'transcode'],
    ['theora', 'transcode'],
    ['AV1', undefined],
    ['raw', undefined],
  ])('of %s', (codec, tag) => {
    expect(planStream([video(codec)], 'keep').video?.tag).toBe(tag);
  });

  it.each([
    ['opus', {}, 'keep', 'as-is'],
    ['OPUS', {}, 'aac', 'transcode'],
    ['MPEG4-GENERIC', { config: '1190' }, 'keep', 'as-is'],
    ['MPEG4-GENERIC', {}, 'keep', undefined],
    ['PCMU', {}, 'keep', 'transcode'],
    ['PCMA', {}, 'keep', 'transcode'],
    ['G722', {}, 'keep', 'transcode'],
    ['MP4A-LATM', {}, 'keep', 'transcode'],
    ['telephone-event', {}, 'keep', undefined],
  ] as const)('of %s with %j, Opus %s', (codec, parameters, opus, tag) => {
    expect(planStream([audio(codec, parameters)], opus).audio?.tag).toBe(tag);
  });

  it('names the tracks of which nothing can be made, with the reasons', () => {
    expect(planStream([video('H264'), audio('PCMU')], 'keep').notCarried).toEqual([]);
    expect(planStream([video('AV1'), audio('opus')], 'keep').notCarried).toEqual([
      expect.stringContaining('video AV1: '),
    ]);
    const { notCarried } = planStream([video('H264'), audio('MPEG4-GENERIC')], 'keep');
    expect(notCarried).toEqual([expect.stringContaining('audio MPEG4-GENERIC: ')]);
  });

  it('needs an encoder for the whole stream only if one of the tracks needs it', () => {
    expect(needsTranscoding(planStream([video('H264'), audio('opus')], 'keep'))).toBe(false);
    expect(needsTranscoding(planStream([video('H264'), audio('PCMA')], 'keep'))).toBe(true);
    expect(needsTranscoding(planStream([], 'keep'))).toBe(false);
  });
});
