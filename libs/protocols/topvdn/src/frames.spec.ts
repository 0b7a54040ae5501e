import { describe, expect, it } from 'vitest';
import {
  cloudMessageOf,
  encodeEvent,
  encodeRequest,
  ERROR_CODE,
  LENGTHS,
  readEvent,
  readRequest,
  type DeviceRequest,
  type DeviceEvent,
} from './index.js';

const URL_TEXT = 'topvdn://10.0.0.1:80?protocolType=1&token=x';

describe('a request of a device', () => {
  it.each<DeviceRequest>([
    { type: 'ack', id: 'm1' },
    { type: 'open', url: URL_TEXT, sdp: 'v=0', record: true, ref: '1' },
    { type: 'join', call_id: 'c1', sdp: 'v=0' },
    { type: 'candidate', call_id: 'c1', candidate: { candidate: 'candidate:1', sdpMid: '0', sdpMLineIndex: 0 } },
    { type: 'candidate', call_id: 'c1', candidate: null },
    { type: 'close', call_id: 'c1' },
    { type: 'restart', call_id: 'c1', sdp: 'v=0' },
    { type: 'mute', call_id: 'c1', audio: true, video: false },
    { type: 'quality', call_id: 'c1', received: { loss: 0.1, rtt_ms: 30, bitrate_bps: 400_000 } },
    { type: 'ringing', url: URL_TEXT },
    { type: 'decline', url: URL_TEXT },
    { type: 'cancel' },
    { type: 'state', ref: 'on-connect' },
    { type: 'ping' },
  ])('$type arrives as it was sent', (request) => {
    expect(readRequest(encodeRequest(request))).toEqual({ tag: 'request', request });
  });

  it('may carry its offer as browsers describe it', () => {
    const sdp = { type: 'offer', sdp: 'v=0' };
    expect(readRequest(JSON.stringify({ type: 'open', url: URL_TEXT, sdp }))).toMatchObject({
      request: { sdp: 'v=0' },
    });
  });

  it('may have members that this version does not know', () => {
    expect(readRequest('{"type":"ack","id":"m1","at":7}')).toEqual({
      tag: 'request',
      request: { type: 'ack', id: 'm1' },
    });
  });

  it.each([
    ['{"type":"open","sdp":"v=0","ref":"7"}', { ref: '7', message: expect.stringContaining('url') }],
    ['{"type":"join","call_id":"c1"}', { call_id: 'c1', message: expect.stringContaining('sdp') }],
    ['{"type":"mute","call_id":"c1","audio":1,"video":false}', { message: expect.stringContaining('audio') }],
    ['{"type":"fly","ref":"8"}', { ref: '8', message: 'There is no request of the type "fly"' }],
    ['{"type":"__proto__"}', { message: 'There is no request of the type "__proto__"' }],
    [`{"type":"ack","id":"${'x'.repeat(100)}"}`, { message: expect.stringContaining('id') }],
    [`{"type":"ack","id":"","ref":7}`, { message: expect.stringContaining('id') }],
    ['{"type":"ack","id":"a\\u0000b"}', { message: 'id: is no id' }],
    ['{"type":"close","call_id":"\\ud800"}', { message: 'call_id: is no id' }],
    [
      '{"type":"quality","call_id":"c1","sent":{"loss":2,"bitrate_bps":1}}',
      { message: expect.stringContaining('loss') },
    ],
  ])('%s is refused with an answer to its sender', (text, error) => {
    expect(readRequest(text)).toMatchObject({
      tag: 'refused',
      error: { type: 'error', code: ERROR_CODE.parameter, ...error },
    });
  });

  it.each(['', '{', 'null', '7', '[]', '"open"', '{"typ":"open"}', '{"type":7}', ' '.repeat(LENGTHS.frame + 1)])(
    'is not %j',
    (text) => {
      expect(readRequest(text)).toMatchObject({ tag: 'malformed', error: { code: ERROR_CODE.parameter } });
    },
  );
});

describe('an event', () => {
  it.each<DeviceEvent>([
    cloudMessageOf('PopMessage', 'aGVsbG8=', 0, 'm1'),
    cloudMessageOf('ConnectionAcceptted', '{"call_id":"c1","cid":7,"ice_servers":[]}', 7),
    { type: 'opened', call_id: 'c1', sdp: 'v=0', ref: '1' },
    { type: 'stopped-ringing', cid: 7, cause: 'answered-elsewhere' },
    { type: 'not-carried', call_id: 'c1', way: 'sent', message: 'video H264: the client takes VP8' },
    { type: 'error', code: ERROR_CODE.busy, message: 'The device is in another call' },
    {
      ...{ type: 'state', cid: 7, rings: [{ cid: 8, direction: 'in', url: URL_TEXT }], ice_servers: [] },
      calls: [
        { call_id: 'c1', cid: 8, role: 'opener', phase: 'established', peer_muted: { audio: true, video: false } },
      ],
    },
  ])('arrives as it was sent: %j', (event) => {
    expect(readEvent(encodeEvent(event))).toEqual(event);
  });

  it("is a message in the shape of every SDK: both spellings of its members, the sender's id as a number", () => {
    expect(cloudMessageOf('PopOffLineMessage', 'aGVsbG8=', 1003200, 'm1')).toEqual({
      ...{ Name: 'PopOffLineMessage', Message: 'aGVsbG8=', SrcID: 1003200 },
      ...{ name: 'PopOffLineMessage', message: 'aGVsbG8=', id: 'm1' },
    });
  });

  it('of another kind is unknown', () => {
    for (const text of ['', '{}', '{"type":"new"}', '{"Name":"Shout","Message":"","SrcID":0}'])
      expect(readEvent(text)).toBeUndefined();
  });
});
