import { describe, expect, it } from 'vitest';
import {
  authBody,
  cancellationBody,
  clientPushBody,
  initString,
  isInRanges,
  serverPushBody,
  stateBody,
  stateQuery,
  tokensBody,
  trackersOf,
  webhookBody,
  webhookRequest,
  webhookSignature,
} from './index.js';

const base64 = (length: number) => Buffer.alloc(length, 'a').toString('base64');
const push = (payload: object, proxy: unknown = 0) => serverPushBody.safeParse({ proxy, payload });

describe('a question for states', () => {
  it('names devices as numbers or texts, or none for all', () => {
    expect(stateBody.parse({ cids: [1003538, '1003539'] })).toEqual({ cids: [1003538, 1003539] });
    for (const body of [{}, { cids: null }, { cids: [] }]) expect(stateBody.safeParse(body).success).toBe(true);
    for (const cid of [-1, 1.5, 2 ** 32, '12a', '', null, {}])
      expect(stateBody.safeParse({ cids: [cid] }).success, String(cid)).toBe(false);
  });

  it('has pages of 20 unless it says otherwise', () => {
    expect(stateQuery.parse({})).toEqual({ size: 20, page: 1 });
    expect(stateQuery.parse({ size: '101', page: '2' })).toEqual({ size: 101, page: 2 });
    for (const query of [{ size: '0' }, { page: '0' }, { size: 'x' }, { page: '1.5' }])
      expect(stateQuery.safeParse(query).success).toBe(false);
  });
});

describe('a push of the application server', () => {
  it('may have a name of its own', () => {
    const named = (id: unknown) =>
      serverPushBody.safeParse({ proxy: 0, id, payload: { msg: 'aGVsbG8=', clients: [1] } });
    expect(named('order 66').data).toMatchObject({ id: 'order 66' });
    for (const id of ['', 'x'.repeat(65), 66]) expect(named(id).success).toBe(false);
  });

  it("is the vendor's example", () => {
    const payload = { msg: 'aGVsbG8=', flag: 3, clients: [1003181] };
    expect(push(payload).data).toEqual({ proxy: 0, payload });
    const messages = [{ from: 1003200, to: 5003062, flag: 3, msg: 'aGVsbG8=' }];
    expect(push(messages, 1).data).toEqual({ proxy: 1, payload: messages });
  });

  it('must be acknowledged unless it says otherwise', () => {
    expect(push({ msg: 'aGVsbG8=', clients: [1] }).data).toMatchObject({ payload: { flag: 2 } });
  });

  it('has 1 to 256 bytes before base64', () => {
    for (const length of [1, 2, 255, 256]) expect(push({ msg: base64(length), clients: [1] }).success).toBe(true);
    for (const length of [0, 257, 258, 1_000]) expect(push({ msg: base64(length), clients: [1] }).success).toBe(false);
  });

  it.each([
    ['no base64', { msg: 'hello!!!', clients: [1] }],
    ['base64 without its padding', { msg: 'aGVsbG8', clients: [1] }],
    ['another flag', { msg: 'aGVsbG8=', flag: 1, clients: [1] }],
    ['no receivers', { msg: 'aGVsbG8=' }],
    ['the payload of the other kind', [{ from: 1, to: 2, msg: 'aGVsbG8=' }]],
  ])('with %s is refused', (_what, payload) => {
    expect(push(payload).success).toBe(false);
  });

  it('is one of two kinds', () => {
    for (const proxy of [2, '0', null, {}]) expect(push({ msg: 'aGVsbG8=', clients: [1] }, proxy).success).toBe(false);
  });
});

it('a push of a device names the tokens of its receivers, and whether its server is told', () => {
  const body = { msg: 'aGVsbG8=', callback: 1, access_tokens: [] };
  expect(clientPushBody.parse(body)).toEqual({ ...body, flag: 2 });
  expect(clientPushBody.safeParse({ ...body, callback: true }).success).toBe(false);
  expect(clientPushBody.safeParse({ msg: 'aGVsbG8=', callback: 1 }).success).toBe(false);
});

it('a duration outside the allowed ones counts as the default', () => {
  const durationOf = (duration: unknown) => tokensBody.parse({ duration, cids: [1] }).duration;
  expect([undefined, 1, 86_400, 86_401, 0, -5, 'x', null].map(durationOf)).toEqual([
    ...[300, 1, 86_400, 300],
    ...[300, 300, 300, 300],
  ]);
});

it('authorizations name devices with their tokens, cancellations without', () => {
  expect(authBody.safeParse({ cids: [{ cid: 1, token: 'x' }], app_ids: ['Test'] }).success).toBe(true);
  expect(authBody.safeParse({ cids: [1], app_ids: ['Test'] }).success).toBe(false);
  expect(cancellationBody.safeParse({ cids: [1] }).success).toBe(true);
  expect(webhookBody.parse({ webhook: '' })).toEqual({ webhook: '' });
});

it('a range contains both of its ends', () => {
  const ranges = [{ begin: 10, end: 12 }];
  expect([9, 10, 11, 12, 13].map((cid) => isInRanges(cid, ranges))).toEqual([false, true, true, true, false]);
});

describe('a webhook', () => {
  it('is signed by the MD5 of the id of the app, the body and the key', () => {
    // Computed with: printf 'Test{"a":"é"}secret' | md5sum
    expect(webhookSignature('Test', '{"a":"é"}', 'secret')).toBe('7cc2dc0c278b24aed964295509cb9d61');
  });

  it('has the headers that the vendor documents', () => {
    const app = { id: 'Test', key: 'secret' };
    const { body, headers } = webhookRequest({ event: 'device-record-clip', data: { device: 1, clip_id: 2 } }, app);
    expect(body).toBe('{"event":"device-record-clip","data":{"device":1,"clip_id":2}}');
    expect(headers).toEqual({
      'content-type': 'application/json',
      'user-agent': 'Topvdn',
      'x-app-id': 'Test',
      'x-topvdn-event': 'device-record-clip',
      'x-event-sign': webhookSignature('Test', body, 'secret'),
    });
  });
});

describe('the init string', () => {
  it('has the lines that an SDK reads, with CRLF', () => {
    expect(initString([{ host: '10.0.0.1', port: 80 }])).toBe(
      '[Config]\r\nIsDebug=0\r\nLocalBasePort=8200\r\nIsCaptureDev=1\r\nIsPlayDev=1\r\nUdpSendInterval=2\r\n' +
        '[Tracker]\r\nCount=1\r\nIP1=10.0.0.1\r\nPort1=80\r\n[LogServer]\r\nCount=0',
    );
  });

  it('tells a client its trackers in their order', () => {
    const trackers = [
      { host: '10.0.0.1', port: 80 },
      { host: 'calls.example.com', port: 8443 },
    ];
    expect(trackersOf(initString(trackers, [{ host: '10.0.0.9', port: 81 }]))).toEqual(trackers);
    expect(trackersOf('')).toEqual([]);
    expect(trackersOf('[Tracker]\nIP1=a\nPort1=99999\nIP3=b')).toEqual([]);
  });
});
