import { describe, expect, it } from 'vitest';
import { decode, encode, LENGTHS } from './index.js';

const frame = (message: string, data?: unknown) => decode(JSON.stringify({ message, data: [data] }));
const messageOf = (decoded: ReturnType<typeof decode>) => {
  if (!decoded.ok) throw new Error(`refused: ${JSON.stringify(decoded.error)}`);
  return decoded.message;
};
const offer = { mediaSessionId: 'id', name: 'test', sdp: 'v=0' };

describe('decode', () => {
  it('takes a connection with nothing in it as one to defaultApp', () => {
    expect(messageOf(frame('connection', {}))).toMatchObject({
      message: 'connection',
      appKey: 'defaultApp',
      mediaProviders: [],
      clientVersion: '',
      keepAlive: false,
    });
  });

  it('takes null and wrong types as missing where nothing depends on them', () => {
    const message = messageOf(
      frame('connection', { appKey: null, mediaProviders: 'WebRTC', clientVersion: 5, custom: null, authToken: 7 }),
    );
    expect(message).toMatchObject({ appKey: 'defaultApp', mediaProviders: [], clientVersion: '' });
    expect(message).not.toHaveProperty('authToken', 7);
    expect(messageOf(frame('publishStream', { ...offer, bitrate: '900', hasVideo: 'yes' }))).toMatchObject({
      bitrate: 0,
      hasVideo: true,
      mediaProvider: 'WebRTC',
      transport: 'UDP',
    });
  });

  it('drops unknown fields, the SIP password among them', () => {
    expect(messageOf(frame('connection', { sipPassword: 'x', later: 1 }))).not.toHaveProperty('sipPassword');
  });

  it('reads a pong without data and data that is not in an array', () => {
    expect(messageOf(decode('{"message":"pong"}'))).toEqual({ message: 'pong' });
    expect(messageOf(decode('{"message":"stopStream","data":{"mediaSessionId":"a"}}'))).toEqual({
      message: 'stopStream',
      mediaSessionId: 'a',
    });
  });

  it.each([
    ['', 'not-json'],
    ['{', 'not-json'],
    ['null', 'not-a-frame'],
    ['[]', 'not-a-frame'],
    ['"ping"', 'not-a-frame'],
    ['{"message":5,"data":[]}', 'not-a-frame'],
    ['{"message":"shutdown","data":[]}', 'unknown-message'],
    ['{"message":"__proto__","data":[]}', 'unknown-message'],
    ['{"message":"toString","data":[]}', 'unknown-message'],
    [`"${'x'.repeat(LENGTHS.frame)}"`, 'too-long'],
  ])('refuses %.40s as %s', (text, kind) => {
    expect(decode(text)).toMatchObject({ ok: false, error: { tag: kind } });
  });

  it.each([
    ['a missing id', { mediaSessionId: undefined }, 'mediaSessionId', true],
    ['an endless id', { mediaSessionId: 'x'.repeat(129) }, 'mediaSessionId', false],
    ['a missing name', { name: undefined }, 'name', true],
    ['an empty name', { name: '' }, 'name', true],
    ['a name of 257 characters', { name: 'x'.repeat(257) }, 'name', false],
    ['a name with a line break', { name: 'a\nb' }, 'name', false],
    ['a name with half a surrogate pair', { name: 'a\ud800' }, 'name', false],
    ['a missing SDP', { sdp: undefined }, 'sdp', true],
    ['an endless SDP', { sdp: 'x'.repeat(LENGTHS.sdp + 1) }, 'sdp', false],
    ['an endless custom', { custom: { token: 'x'.repeat(LENGTHS.custom) } }, 'custom', false],
  ])('refuses %s and says which field it was', (_what, change, field, missing) => {
    expect(frame('publishStream', { ...offer, ...change })).toMatchObject({
      ok: false,
      error: { tag: 'invalid', message: 'publishStream', field, missing },
    });
  });

  it('takes a name of 256 characters in any script', () => {
    const name = '🚁'.repeat(128);
    expect(messageOf(frame('playStream', { ...offer, name }))).toMatchObject({ name });
  });

  it('survives a frame nested as deeply as its length allows', () => {
    const deep = '['.repeat(100_000);
    expect(decode(deep)).toMatchObject({ ok: false, error: { tag: 'not-json' } });
    const payload = deep + ']'.repeat(100_000);
    expect(decode(`{"message":"sendData","data":[{"operationId":"1","payload":${payload}}]}`)).toMatchObject({
      ok: false,
      error: { tag: 'invalid', operationId: '1', field: 'payload' },
    });
  });
});

describe('encode', () => {
  it('always puts data into an array', () => {
    expect(encode({ message: 'ping', data: [] })).toBe('{"message":"ping","data":[]}');
    expect(encode({ message: 'getVersion', data: ['5.2'] })).toBe('{"message":"getVersion","data":["5.2"]}');
  });
});
