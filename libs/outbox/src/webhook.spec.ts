import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { OutboundGuard, parseAllowList } from '@weir/outbound';
import { Webhook as Verifier } from 'standardwebhooks';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Message } from './attempt.js';
import type { Outcome } from './message.js';
import { webhookHandler, webhookMessage, type Webhook, type WebhookOptions, type WebhookPorts } from './webhook.js';
import { newWebhookSecret, webhookHeaders } from './webhook-signature.js';

interface Received {
  readonly headers: Record<string, string>;
  readonly body: string;
}

const secret = newWebhookSecret();
const guard = new OutboundGuard({ allow: parseAllowList('127.0.0.1') });
const BODY = '{"event":"upload_ready","duration":12.5,"name":"Grüße"}';

let server: Server;
let url: string;
let received: Received[];
let answer: (request: IncomingMessage, response: ServerResponse) => void;

beforeEach(async () => {
  received = [];
  answer = (_request, response) => response.writeHead(200).end('ok');
  server = createServer((request, response) => {
    void text(request).then((body) => {
      const headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, String(value)]));
      received.push({ headers, body });
      answer(request, response);
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook?key=hidden`;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const messageTo = (to: string): Message<Webhook> => ({
  ...{ id: 'msg_1', queue: 'webhook', key: 's1', scope: 'acme', attempt: 1, note: undefined },
  ...{ last: false, deaths: 0 },
  payload: { url: to, body: BODY },
});

const send = (options: WebhookOptions = {}, ports: Partial<WebhookPorts> = {}, to = url): Promise<Outcome> =>
  webhookHandler({ guard, secrets: async () => [secret], ...ports }, options).deliver(messageTo(to), {
    signal: new AbortController().signal,
    note: async () => undefined,
  });

const status = (code: number, headers: Record<string, string> = {}) => {
  answer = (_request, response) => response.writeHead(code, headers).end();
};

describe('a webhook', () => {
  it('is posted as it is, with headers that the public library verifies', async () => {
    expect(await send()).toEqual({ tag: 'delivered', status: 200 });
    const [{ headers, body } = expect.unreachable()] = received;
    expect(body).toBe(BODY);
    expect(headers['content-type']).toBe('application/json');
    expect(headers['webhook-id']).toBe('msg_1');
    expect(new Verifier(secret).verify(body, headers)).toEqual(JSON.parse(BODY));
    expect(() => new Verifier(newWebhookSecret()).verify(body, headers)).toThrow();
    expect(() => new Verifier(secret).verify(`${body} `, headers)).toThrow();
    expect(() => new Verifier(secret).verify(body, { ...headers, 'webhook-id': 'msg_2' })).toThrow();
  });

  it('is signed with both secrets during a rotation', async () => {
    const next = newWebhookSecret();
    await send({}, { secrets: async () => [next, secret] });
    const [{ headers, body } = expect.unreachable()] = received;
    expect(headers['webhook-signature']?.split(' ')).toHaveLength(2);
    for (const known of [secret, next]) expect(new Verifier(known).verify(body, headers)).toBeDefined();
  });

  it.each([200, 201, 202, 204, 299])('is delivered when the receiver says %i', async (code) => {
    status(code);
    expect(await send()).toEqual({ tag: 'delivered', status: code });
  });

  it.each([400, 401, 403, 404, 500, 501])('is tried again when the receiver says %i', async (code) => {
    status(code);
    expect(await send()).toEqual({ tag: 'retry', status: code, words: `the receiver says ${code}` });
  });

  it.each([429, 502, 503, 504])('is tried again when the receiver asks for it, after %i', async (code) => {
    status(code, { 'retry-after': '120' });
    expect(await send()).toMatchObject({ tag: 'retry', status: code, afterMs: 120_000 });
    status(code);
    expect(await send()).not.toHaveProperty('afterMs');
  });

  it.each([301, 302, 303, 307, 308])('doesn’t follow %i', async (code) => {
    status(code, { location: url });
    expect(await send()).toMatchObject({
      tag: 'retry',
      status: code,
      words: expect.stringContaining('redirects') as string,
    });
    expect(received).toHaveLength(1);
  });

  it('is dead when the receiver says 410, and its owner is told', async () => {
    status(410);
    const gone: string[] = [];
    const outcome = await send({}, { gone: async ({ scope }) => void gone.push(scope) });
    expect(outcome).toMatchObject({ tag: 'dead', status: 410 });
    expect(gone).toEqual(['acme']);
  });

  it('isn’t sent to a receiver that wants no more', async () => {
    expect(await send({}, { secrets: async () => undefined })).toMatchObject({ tag: 'dead' });
    expect(received).toEqual([]);
  });

  it('is tried again when the receiver hangs, half closes or resets', async () => {
    answer = () => undefined;
    expect(await send({ timeoutMs: 200 })).toMatchObject({
      tag: 'retry',
      words: expect.stringContaining('timeout') as string,
    });
    const refusal = { tag: 'retry', words: expect.stringContaining('connection') as string };
    answer = (request) => request.socket.end();
    expect(await send()).toMatchObject(refusal);
    answer = (request) => request.socket.resetAndDestroy();
    expect(await send()).toMatchObject(refusal);
    answer = (request) => request.socket.end('HTTP/1.1 200 OK');
    expect(await send()).toMatchObject(refusal);
  });

  it('is delivered once the receiver has said so, however long or broken the rest of its answer is', async () => {
    answer = (_request, response) => response.end('x'.repeat(1_000_000));
    expect(await send()).toEqual({ tag: 'delivered', status: 200 });
    answer = (_request, response) => {
      response.writeHead(200, { 'content-length': '100' }).write('some');
      setImmediate(() => response.destroy());
    };
    expect(await send()).toEqual({ tag: 'delivered', status: 200 });
  });

  it('goes nowhere but to the public internet and to what the operator allows', async () => {
    const closed = new OutboundGuard();
    expect(await send({}, { guard: closed })).toMatchObject({
      tag: 'retry',
      words: expect.stringContaining('address') as string,
    });
    expect(await send({ schemes: ['https'] })).toMatchObject({
      tag: 'dead',
      words: expect.stringContaining('scheme') as string,
    });
    expect(await send({}, {}, 'no url')).toMatchObject({ tag: 'dead' });
    expect(received).toEqual([]);
  });

  it('goes to the host of its URL, which takes only a part of the handler’s attempts', () => {
    expect(webhookMessage({ url: 'https://user:key@Hooks.example:8443/a?b', body: BODY })).toMatchObject({
      destination: 'hooks.example',
    });
    const { concurrency = 0, perDestination = 0 } = webhookHandler({ guard, secrets: async () => [secret] });
    expect(perDestination).toBeGreaterThan(0);
    expect(perDestination).toBeLessThan(concurrency / 2);
  });

  it('leaves no word of its URL in the log', async () => {
    const words = async (outcome: Promise<Outcome>) => (await outcome).words ?? '';
    answer = (request) => request.socket.end();
    for (const outcome of [send(), send({ schemes: ['https'] }), send({}, { guard: new OutboundGuard() })])
      expect(await words(outcome)).not.toMatch(/hidden|hook/);
  });
});

describe('a signature', () => {
  it.each(['', 'secret', 'whsec_', 'whsec_c2hvcnQ=', `whsec_${Buffer.alloc(65).toString('base64')}`, 'whsec_!!!!'])(
    'isn’t made with the secret "%s"',
    (wrong) => {
      expect(() => webhookHeaders({ id: 'a', timestampS: 1, body: '' }, [wrong])).toThrow(RangeError);
    },
  );

  it('isn’t made without a secret, or for an id with a full stop', () => {
    expect(() => webhookHeaders({ id: 'a', timestampS: 1, body: '' }, [])).toThrow('needs a secret');
    expect(() => webhookHeaders({ id: 'a.1', timestampS: 1, body: '' }, [secret])).toThrow(RangeError);
  });
});
