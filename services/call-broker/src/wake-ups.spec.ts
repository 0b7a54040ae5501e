import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { webhookSignature } from '@weir/protocol-topvdn';
import { waitFor } from '@weir/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { PushedMessage } from './messages.js';
import { APP } from './testing/device.js';
import { twoBrokers } from './testing/two-brokers.js';

const pair = twoBrokers(5_000);
let gateway: Server;
let wakeHook: string;
/** What the operator's push gateway was told, and how it answers. */
let told: { body: string; headers: Record<string, unknown> }[];
let status: number;

const push = (text: string, flag: PushedMessage['flag'] = 2, at = pair.here) =>
  at.service.messages.accept({
    app: { ...APP, wakeHook },
    messages: [{ to: pair.cid, from: 1_234, flag, msg: Buffer.from(text).toString('base64') }],
  });
const texts = () =>
  told.map(({ body }) => Buffer.from((JSON.parse(body) as { data: { msg: string } }).data.msg, 'base64').toString());
const isConnected = (at = pair.here) =>
  waitFor(async () => (await at.service.channels.presences([pair.cid])).has(pair.cid));

beforeAll(async () => {
  gateway = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
    request.on('end', () => {
      told.push({ body, headers: request.headers });
      response.writeHead(status).end();
    });
  });
  await new Promise<void>((resolve) => gateway.listen(0, '127.0.0.1', resolve));
  wakeHook = `http://127.0.0.1:${(gateway.address() as AddressInfo).port}/wake`;
  await pair.here.service.apps.change(APP.id, { wakeHook });
});
beforeEach(() => {
  [told, status] = [[], 200];
});
afterAll(async () => {
  await new Promise((resolve) => gateway.close(resolve));
});

describe('the push gateway of an app is called', () => {
  it('for a message to a device without a connection, signed as the webhooks are', async () => {
    await push('ring');
    await waitFor(() => told.length === 1);
    const [{ body, headers } = { body: '', headers: {} }] = told;
    expect(JSON.parse(body)).toEqual({
      event: 'device-wake-up',
      data: {
        device: pair.cid,
        id: expect.stringMatching(/^[0-9a-f]{32}$/) as string,
        from: 1_234,
        msg: Buffer.from('ring').toString('base64'),
        flag: 2,
        created: expect.any(Number) as number,
      },
    });
    expect(headers).toMatchObject({
      'user-agent': 'Topvdn',
      'x-app-id': APP.id,
      'x-topvdn-event': 'device-wake-up',
      'x-event-sign': webhookSignature(APP.id, body, APP.key),
    });
    const { id } = (JSON.parse(body) as { data: { id: string } }).data;
    const phone = await pair.device(pair.there);
    await phone.hears(1);
    expect(phone.events[0]).toMatchObject({ Name: 'PopOffLineMessage', id });
  });

  it('for a message that is not kept, too', async () => {
    await push('look', 3);
    await waitFor(() => told.length === 1);
    expect(JSON.parse(told[0]?.body ?? '')).toMatchObject({ data: { flag: 3 } });
  });

  it('again until it answers', async () => {
    status = 503;
    await push('ring');
    await waitFor(() => told.length === 1);
    status = 200;
    await waitFor(() => told.length === 2);
    expect(told[1]?.body).toBe(told[0]?.body);
  });

  it('when the connection of a device ends before the message is acknowledged', async () => {
    const deaf = await pair.device(pair.here, { acknowledges: false });
    await isConnected(pair.there);
    await push('first', 2, pair.there);
    await deaf.hears(1);
    expect(told).toEqual([]);
    deaf.end();
    await waitFor(() => told.length === 1);
    expect(texts()).toEqual(['first']);
  });

  it('when a device that seems to be connected acknowledges nothing', async () => {
    const deaf = await pair.device(pair.here, { acknowledges: false });
    await isConnected();
    await push('ring');
    await waitFor(() => told.length === 1, { timeoutMs: 30_000 });
    expect(deaf.messages()).toEqual(Array.from({ length: 6 }, () => 'PopMessage ring from 1234'));
  }, 40_000);

  it('for no device that is connected and acknowledges', async () => {
    const deaf = await pair.device(pair.here, { acknowledges: false });
    await isConnected();
    await push('hello');
    await deaf.hears(1);
    const phone = await pair.device(pair.there);
    await deaf.closes();
    await push('once', 3);
    await phone.hears(2);
    phone.end();
    await waitFor(async () => !(await pair.here.service.channels.presences([pair.cid])).has(pair.cid));
    await push('last');
    await waitFor(() => told.length > 0);
    expect(texts()).toEqual(['last']);
  });
});
