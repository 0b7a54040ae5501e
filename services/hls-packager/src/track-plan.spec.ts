import { describe, expect, it } from 'vitest';
import { needsTranscoding, planStream, type SourceTrack } from './track-plan.js';

const video = (codec: string): SourceTrack => ({
  kind: 'video',
  codec,
  clockRate: 90_000,
  channels: 0,
  parameters: {},
});
const audio = (codec: string, parameters = {}): SourceTrack => ({
  kind: 'audio',
  codec,
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
    ['AV1', 'transcode'],
    ['theora', undefined],
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
    ['telephone-event', {}, 'keep', undefined],
  ] as const)('of %s with %j, Opus %s', (codec, parameters, opus, tag) => {
    expect(planStream([audio(codec, parameters)], opus).audio?.tag).toBe(tag);
  });

  it('takes an encoder for the whole stream only when one of them needs it', () => {
    expect(needsTranscoding(planStream([video('H264'), audio('opus')], 'keep'))).toBe(false);
    expect(needsTranscoding(planStream([video('H264'), audio('PCMA')], 'keep'))).toBe(true);
    expect(needsTranscoding(planStream([], 'keep'))).toBe(false);
  });
});
