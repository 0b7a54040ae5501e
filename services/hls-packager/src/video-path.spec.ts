import { describe, expect, it } from 'vitest';
import { indexPath, parseStreamPath, parseVideoPath, targetOfStream } from './video-path.js';

const robot = (id: string, camera?: string) => ({ tag: 'robot', id, camera });
const stream = (name: string) => ({ tag: 'stream', name });

describe('a path of a video', () => {
  it.each([
    ['/videos/robot_dog_sr_10001/index.m3u8', robot('robot_dog_sr_10001'), { tag: 'index' }],
    ['/videos/r1/front/media.m3u8', robot('r1', 'front'), { tag: 'media' }],
    ['/videos/r1/front/part-12-3.m4s', robot('r1', 'front'), { tag: 'part', msn: 12, index: 3 }],
    ['/videos/r1/segment-12.m4s', robot('r1'), { tag: 'segment', msn: 12 }],
    ['/videos/~/garden/init-0.mp4', stream('garden'), { tag: 'init', initId: 0 }],
    ['/videos/~/a%2Fb%20c/index.m3u8', stream('a/b c'), { tag: 'index' }],
    ['/videos/~/a/b%20c/index.m3u8', stream('a/b c'), { tag: 'index' }],
    ['/videos/~/%C3%A9%3F/index.m3u8', stream('é?'), { tag: 'index' }],
  ])('%s', (path, target, file) => {
    expect(parseVideoPath(path)).toEqual({ target, file });
  });

  it.each([
    '/videos/../index.m3u8',
    '/videos/%2e%2e/index.m3u8',
    '/videos/r1/..%2f..%2fetc/index.m3u8',
    '/videos/r1%2Ffront/index.m3u8',
    '/videos/~/../index.m3u8',
    '/videos/~/%2e%2e/index.m3u8',
    '/videos/~/index.m3u8',
    '/videos/~//index.m3u8',
    '/videos//index.m3u8',
    '/videos/index.m3u8',
    '/videos/r1/',
    '/videos/r1/a/b/index.m3u8',
    '/videos/r1/other.m3u8',
    '/videos/r1/segment-x.m4s',
    '/videos/-r1/index.m3u8',
    '/videos/r 1/index.m3u8',
    '/videos/r1%00/index.m3u8',
    '/videos/~/a%0Ab/index.m3u8',
    '/videos/%E0%A4%A/index.m3u8',
    `/videos/${'r'.repeat(65)}/index.m3u8`,
    `/videos/~/${'r'.repeat(513)}/index.m3u8`,
    `/videos/~/${'%41'.repeat(5_000)}/index.m3u8`,
    '/other/r1/index.m3u8',
  ])('is not recognised in %s', (path) => {
    expect(parseVideoPath(path)).toBeUndefined();
  });

  it.each(['garden', 'r1/front', 'a/b/c', 'two words', '~', 'a//b', '.hidden', 'é', 'a?b#c'])(
    'leads back to the stream %s',
    (name) => {
      const parsed = parseVideoPath(indexPath(targetOfStream(name)));
      expect(parsed?.target).toEqual(targetOfStream(name));
      expect(parsed?.file).toEqual({ tag: 'index' });
    },
  );

  it('has its counterpart under /stream', () => {
    expect(parseStreamPath('/stream/r1/front')).toEqual(robot('r1', 'front'));
    expect(parseStreamPath('/stream/~/a%2Fb')).toEqual(stream('a/b'));
    expect(parseStreamPath('/stream/r1/front/more')).toBeUndefined();
    expect(parseStreamPath('/stream/')).toBeUndefined();
  });
});
