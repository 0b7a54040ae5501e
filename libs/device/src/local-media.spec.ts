import { afterEach, describe, expect, it, vi } from 'vitest';
import { capturedMedia } from './local-media.js';

afterEach(() => vi.unstubAllGlobals());

/** A browser whose user has, or allows, only these. */
const browserWith = (...kinds: string[]) => {
  const stopped: string[] = [];
  const getUserMedia = async (wanted: Record<string, boolean>) => {
    const asked = Object.keys(wanted);
    if (asked.some((kind) => !kinds.includes(kind))) throw new Error('NotFoundError');
    return { getTracks: () => asked.map((kind) => ({ kind, stop: () => stopped.push(kind) })) };
  };
  vi.stubGlobal('navigator', { mediaDevices: { getUserMedia } });
  return stopped;
};

describe('what a device sends by itself', () => {
  it.each([
    [
      ['audio', 'video'],
      ['audio', 'video'],
    ],
    [['audio'], ['audio']],
    [['video'], ['video']],
    [[], []],
  ])('of %j is %j', async (present, sent) => {
    const stopped = browserWith(...present);
    const media = await capturedMedia();
    expect(media.tracks.map(({ kind }) => kind)).toEqual(sent);
    media.release();
    expect(stopped).toEqual(sent);
  });

  it('is nothing where there is no browser', async () => {
    vi.stubGlobal('navigator', undefined);
    expect((await capturedMedia()).tracks).toEqual([]);
  });
});
