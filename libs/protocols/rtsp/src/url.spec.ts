import { describe, expect, it } from 'vitest';
import {
  contentBaseOf,
  formatRtspUrl,
  parseRtspUrl,
  resolveControl,
  type RtspUrl,
  setupTargetOf,
  streamPathOf,
  withHiddenPassword,
} from './url.js';

function url(text: string): RtspUrl {
  const parsed = parseRtspUrl(text);
  if (!parsed) throw new Error(text);
  return parsed;
}

describe('an RTSP URL', () => {
  it.each([
    ['rtsp://h/p', { scheme: 'rtsp', host: 'h', port: 554, path: '/p', query: '', user: undefined }],
    [
      'RTSPS://Camera.Example',
      { scheme: 'rtsps', host: 'camera.example', port: 322, path: '', query: '', user: undefined },
    ],
    ['rtsp://h:8554/p?a=1&b=/x?y', { port: 8554, path: '/p', query: 'a=1&b=/x?y' }],
    ['rtsp://h?channel=1', { path: '', query: 'channel=1' }],
    ['rtsp://[fe80::1]:8554/p', { host: 'fe80::1', port: 8554 }],
    ['rtsp://admin:p@ss#1@10.0.0.1/p', { host: '10.0.0.1', user: { username: 'admin', password: 'p@ss#1' } }],
    ['rtsp://a%40b:%2F%3a@h/p', { user: { username: 'a@b', password: '/:' } }],
    ['rtsp://user@h/p', { user: { username: 'user', password: '' } }],
    ['rtsp://user:100%@h/p', { user: { username: 'user', password: '100%' } }],
    ['rtsp://h/front door', { path: '/front%20door' }],
    ['rtsp://h/front\u00a0door?a=\u3000', { path: '/front%C2%A0door', query: 'a=%E3%80%80' }],
  ])('is read: %s', (text, expected) => {
    expect(parseRtspUrl(text)).toMatchObject(expected);
  });

  it.each([
    'http://h/p',
    'rtsp:/h/p',
    'rtsp://',
    'rtsp:///p',
    'rtsp://h:0/p',
    'rtsp://h:65536/p',
    'rtsp://h:8554x/p',
    'rtsp://h o/p',
    'rtsp://h\r\nX: a/p',
    'rtsp://h\\@other/p',
    'rtsp://user%0aX:pw@h/p',
    'rtsp://user:pw%0d@h/p',
    'rtsp://[::1/p',
    'rtsp://fe80::1/p',
    'rtsp://%31%32/p',
    `rtsp://h/${'a'.repeat(9000)}`,
  ])('is not %j', (text) => {
    expect(parseRtspUrl(text)).toBeUndefined();
  });

  it.each([
    ['rtsp://me:pw@h:554/a?b=c', 'rtsp://me:***@h:554/a?b=c'],
    ['rtsps://me:p@ss#1:x@h/a@b', 'rtsps://me:***@h/a@b'],
    ['rtsp://me@h:8554/a', 'rtsp://me@h:8554/a'],
    ['rtsp://h:8554/a?u=x:y@z', 'rtsp://h:8554/a?u=x:y@z'],
  ])('is shown with its password hidden: %s', (text, shown) => {
    expect(withHiddenPassword(text)).toBe(shown);
  });

  it('is written without its user and without a default port', () => {
    expect(formatRtspUrl(url('rtsp://a:b@H:554/p?q'))).toBe('rtsp://h/p?q');
    expect(formatRtspUrl(url('rtsps://[::1]:8322/p'))).toBe('rtsps://[::1]:8322/p');
    expect(contentBaseOf(url('rtsp://a:b@h//lab/cam//?x=1'))).toBe('rtsp://h/lab/cam/');
  });

  it.each([
    ['rtsp://h/lab/front%20cam/', 'lab/front cam'],
    ['rtsp://h//lab', 'lab'],
    ['rtsp://h', ''],
    ['rtsp://h/a/../b', undefined],
    ['rtsp://h/a/%2e%2e/b', undefined],
    ['rtsp://h/a/./b', undefined],
    ['rtsp://h/%00', undefined],
    ['rtsp://h/%0d%0aX', undefined],
    ['rtsp://h/a%5cb', undefined],
    ['rtsp://h/%zz', undefined],
  ])('names a stream: %s', (text, path) => {
    expect(streamPathOf(url(text))).toBe(path);
  });
});

describe('a control', () => {
  it.each([
    ['rtsp://h/p', '*', 'rtsp://h/p'],
    ['rtsp://h/p', '', 'rtsp://h/p'],
    ['rtsp://h/p', undefined, 'rtsp://h/p'],
    ['rtsp://h/p', 'trackID=1', 'rtsp://h/p/trackID=1'],
    ['rtsp://h/p/', 'trackID=1', 'rtsp://h/p/trackID=1'],
    ['rtsp://h/p?a=1', 'trackID=1', 'rtsp://h/p?a=1/trackID=1'],
    ['rtsp://h/p?a=1/', 'trackID=1', 'rtsp://h/p?a=1/trackID=1'],
    ['rtsp://h/p/', '?track=1', 'rtsp://h/p/?track=1'],
    ['rtsp://h/p/', '/trackID=1', 'rtsp://h/p/trackID=1'],
    ['rtsp://h:8554/p', '/p/trackID=1', 'rtsp://h:8554/p/trackID=1'],
    ['rtsp://h/p', 'rtsp://a:b@i/x', 'rtsp://i/x'],
    ['rtsp://h/p', 'RTSP://i/x', 'RTSP://i/x'],
    ['rtsp://h/p', 'front door\t1', 'rtsp://h/p/front%20door%091'],
    ['rtsp://h/p', 'rtsp://i/front door', 'rtsp://i/front%20door'],
  ])('of %s and %s', (base, control, expected) => {
    expect(resolveControl(base, control)).toBe(expected);
  });
});

describe('the target of SETUP', () => {
  const presentation = url('rtsp://h/lab/front%20cam?sig=a/b');
  const controls = ['trackID=0', 'trackID=1', 'trackID=10'];

  it.each([
    ['rtsp://h/lab/front%20cam/trackID=1', 1],
    ['rtsp://h/lab/front cam/trackID=1', 1],
    ['rtsp://h/lab/front%20cam//trackID=1', 1],
    ['rtsp://h/lab/front%20cam/trackID=1/', 1],
    ['rtsp://h/lab/front%20cam/trackID=1?sig=a/b', 1],
    ['rtsp://h/lab/front%20cam?sig=a/b/trackID=1', 1],
    ['rtsp://h/lab/front%20cam/?sig=a/b/trackID=10', 2],
    ['rtsp://other:8554/lab/front%20cam/trackID=0', 0],
  ])('is a track: %s', (text, index) => {
    expect(setupTargetOf(presentation, controls, url(text))).toEqual({ tag: 'track', index });
  });

  it.each([
    ['rtsp://h/lab/front%20cam', 'aggregate'],
    ['rtsp://h/lab/front%20cam/?sig=a/b', 'aggregate'],
    ['rtsp://h/lab/front%20camera/trackID=1', 'elsewhere'],
    ['rtsp://h/lab/trackID=1', 'elsewhere'],
    ['rtsp://h/lab/front%20cam/x/trackID=1', 'elsewhere'],
    ['rtsp://h/lab/front%20cam/trackID=2', 'elsewhere'],
    ['rtsp://h/lab/front%20cam/trackID=1x', 'elsewhere'],
    ['rtsp://h/other?x=/lab/front cam/trackID=1', 'elsewhere'],
  ])('is no track: %s', (text, tag) => {
    expect(setupTargetOf(presentation, controls, url(text))).toEqual({ tag });
  });

  it('may be named by an absolute control, a path or a query', () => {
    const target = (control: string, text: string): unknown => setupTargetOf(presentation, [control], url(text));
    const track = { tag: 'track', index: 0 };
    expect(target('rtsp://h/lab/front%20cam/video', 'rtsp://h/lab/front%20cam/video')).toEqual(track);
    expect(target('rtsp://inside/x?y=1', 'rtsp://outside/x?y=1')).toEqual(track);
    expect(target('/video', 'rtsp://h/lab/front%20cam/video')).toEqual(track);
    expect(target('/lab/front%20cam/video', 'rtsp://h/lab/front%20cam/video')).toEqual(track);
    expect(target('?track=video', 'rtsp://h/lab/front%20cam?track=video')).toEqual(track);
    expect(target('*', 'rtsp://h/lab/front%20cam')).toEqual({ tag: 'aggregate' });
    expect(target('', 'rtsp://h/lab/front%20cam/')).toEqual({ tag: 'aggregate' });
  });
});
