import { describe, expect, it } from 'vitest';
import { readStreamRequest } from './stream-request.js';

const url = 'rtsp://stream.example:8554/demo/r1/front?expires=1&salt=2&signature=3';

describe('the body of POST /stream/', () => {
  it('names a robot and the URL that start_stream gave for it', () => {
    expect(readStreamRequest({ id: 'r1', rtsp_url: url })).toEqual({
      tag: 'request',
      request: { tag: 'robot', id: 'r1', rtsp: { tenant: 'demo', streamName: 'r1/front' } },
    });
  });

  it('names any stream instead', () => {
    expect(readStreamRequest({ stream: 'a b/c' })).toEqual({
      tag: 'request',
      request: { tag: 'stream', name: 'a b/c' },
    });
  });

  it.each([
    [undefined, 'body'],
    ['text', 'body'],
    [{}, 'id'],
    [{ id: 'r1' }, 'rtsp_url'],
    [{ id: 7, rtsp_url: url }, 'id'],
    [{ id: '../r1', rtsp_url: url }, 'id'],
    [{ id: 'r1', rtsp_url: 'no url' }, 'rtsp_url'],
    [{ id: 'r1', rtsp_url: 'rtsp://h/%E0%A4%A/x' }, 'rtsp_url'],
    [{ id: 'r1', rtsp_url: `rtsp://h/${'x'.repeat(5_000)}` }, 'rtsp_url'],
    [{ stream: '' }, 'id'],
    [{ stream: 'x'.repeat(513) }, 'id'],
  ])('is refused: %j', (body, field) => {
    expect(readStreamRequest(body)).toEqual({ tag: 'invalid', field });
  });

  it.each(['http://h/demo/r1', 'file:///demo/r1', 'rtsp://h', 'rtsp://h/demo', 'rtsp://h/demo/', 'rtmp://h/demo/r1'])(
    'is refused with the foreign URL %s',
    (rtspUrl) => {
      expect(readStreamRequest({ id: 'r1', rtsp_url: rtspUrl })).toEqual({ tag: 'foreign' });
    },
  );
});
