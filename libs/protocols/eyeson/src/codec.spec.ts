import { describe, expect, it } from 'vitest';
import { decode, encode } from './index.js';

const frame = (type: string, data?: unknown, more: object = {}): string =>
  JSON.stringify({ type, client_id: 'c', session_id: 's', rec_id: 's', data, ...more });
const OFFER = { type: 'offer', sdp: 'v=0' };

describe('a frame', () => {
  it("of the original document's example is read, whatever else it carries", () => {
    const data = { sdp: OFFER, webhook_url: 'https://yourserver.com/streamrec', version: '3.1.0' };
    expect(decode('second', frame('session_start', data, { extra: 1 }))).toEqual({
      tag: 'message',
      message: {
        ...{ tag: 'start', clientId: 'c', sessionId: 's', offerSdp: 'v=0' },
        webhookUrl: 'https://yourserver.com/streamrec',
      },
    });
  });

  it.each([undefined, null, ''])('may leave its webhook out: %j', (webhook_url) => {
    expect(decode('second', frame('recording_start', { upload_url: 'https://u', webhook_url }))).toMatchObject({
      message: { tag: 'start-recording', destination: { uploadUrl: 'https://u', webhookUrl: undefined } },
    });
  });

  it("of the first generation carries the recording's id, and its end no data", () => {
    expect(decode('first', frame('recording_start', { sdp: OFFER, upload_url: 'https://u' }))).toMatchObject({
      message: { tag: 'start-recording-session', sessionId: 's', offerSdp: 'v=0' },
    });
    expect(decode('first', frame('recording_stop'))).toMatchObject({ message: { tag: 'stop' } });
    expect(decode('first', frame('recording_stop', undefined, { rec_id: undefined }))).toMatchObject({
      tag: 'malformed',
      refusal: { message: expect.stringContaining('rec_id') },
    });
  });

  it.each([
    ['nothing', ''],
    ['half a text', '{"type":'],
    ['a number', '7'],
    ['a list', '[]'],
    ['no type', JSON.stringify({ client_id: 'c', session_id: 's' })],
    ['no client', JSON.stringify({ type: 'session_stop', session_id: 's' })],
    ['a client of the wrong type', frame('session_stop', {}, { client_id: 7 })],
    ['too much', frame('candidate', { candidate: { candidate: 'x'.repeat(200_000) } })],
  ])('with %s is not a message', (_what, text) => {
    expect(decode('second', text)).toMatchObject({ tag: 'malformed', refusal: { code: 'INVALID' } });
  });

  it.each([
    ['session_start', undefined, 'data.sdp'],
    ['session_start', { sdp: { type: 'answer', sdp: 'v=0' } }, 'data.sdp.type'],
    ['session_start', { sdp: { type: 'offer', sdp: 'x'.repeat(70_000) } }, 'data.sdp.sdp'],
    ['supervisor_join_session', { sdp: OFFER }, 'data.session_id_to_monitor'],
    ['recording_start', {}, 'data.upload_url'],
    ['candidate', { candidate: 7 }, 'data.candidate'],
    ['sdp_update', { sdp: { type: 'rollback', sdp: '' } }, 'data.sdp.type'],
  ])('%s is refused with the name of the wrong field', (type, data, field) => {
    expect(decode('second', frame(type, data))).toMatchObject({
      tag: 'refused',
      refusal: { code: 'INVALID', message: expect.stringContaining(field) },
    });
  });

  it.each(['chat', '__proto__', 'constructor', 'toString'])('of the type %s is unknown', (type) => {
    for (const generation of ['first', 'second'] as const)
      expect(decode(generation, frame(type, {}))).toMatchObject({ refusal: { code: 'UNKNOWN_TYPE' } });
  });
});

it("each generation's client gets the session's id under the name that it knows", () => {
  const message = { type: 'error', data: { code: 'INVALID', message: 'm' } } as const;
  expect(JSON.parse(encode('second', { clientId: 'c', sessionId: 's' }, message))).toEqual({
    ...{ type: 'error', client_id: 'c', session_id: 's' },
    data: { code: 'INVALID', message: 'm' },
  });
  expect(JSON.parse(encode('first', { clientId: 'c', sessionId: 's' }, message))).toMatchObject({ rec_id: 's' });
});
