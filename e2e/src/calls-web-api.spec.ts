import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { waitFor } from '@weir/testing';
import { WebSocket } from 'ws';
import { expect, inject, it } from 'vitest';

const { httpUrl, operatorKey, calls } = inject('platform');

const app = { 'x-app-id': calls.appId, 'x-app-key': calls.appKey, 'content-type': 'application/json' };
const [caller, callee] = calls.devices.map(({ cid, token }) => ({ cid, token })) as [Device, Device];
interface Device {
  readonly cid: number;
  readonly token: string;
}

const post = async (path: string, body: unknown, headers: Record<string, string> = app) => {
  const response = await fetch(`${httpUrl}/v2/${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
  return { status: response.status, json: (await response.json()) as Record<string, unknown> };
};

it('an application’s server finds a device’s state, and its message reaches the other device through the gateway', async () => {
  const { status, json } = await post('devices/state?page=1&size=20', { cids: [caller.cid] });
  expect(status).toBe(200);
  const [device] = json['devices'] as { tracker_ip: string; tracker_port: number; cover_url: string }[];
  if (device === undefined) throw new Error('no device');
  const tracker = `ws://${device.tracker_ip}:${device.tracker_port}`;
  const socket = new WebSocket(`${tracker}/v2/device/channel?client_token=${callee.token}`);
  const heard: Record<string, unknown>[] = [];
  socket.on('message', (data: Buffer) => heard.push(JSON.parse(data.toString()) as Record<string, unknown>));
  const [[upgraded]] = await Promise.all([once(socket, 'upgrade') as Promise<[IncomingMessage]>, once(socket, 'open')]);
  const { localPort } = upgraded.socket;
  const url = `topvdn://${device.tracker_ip}:${device.tracker_port}?protocolType=1&token=${caller.token}`;
  const msg = Buffer.from(url).toString('base64');
  const pushed = await post('message/server/push', { proxy: 0, payload: { msg, flag: 2, clients: [callee.cid] } });
  expect([pushed.status, pushed.json]).toEqual([200, { request_id: expect.stringMatching(/^[0-9a-f]{32}$/) }]);
  await waitFor(() => heard.some(({ Message }) => Message === msg), { what: 'the message' });
  const own = await post('devices/state', {});
  const connected = (own.json['devices'] as { cid: number; public_ip: string; public_port: number }[]).find(
    ({ cid }) => cid === callee.cid,
  );
  expect(connected).toMatchObject({ public_ip: '127.0.0.1', public_port: localPort });
  const cids = (own.json['devices'] as { cid: number }[]).map(({ cid }) => cid);
  expect(cids).toEqual(expect.arrayContaining([callee.cid]));
  socket.close();
});

it('a picture of two megabytes passes the gateway and is the device’s cover', async () => {
  const picture = Buffer.concat([Buffer.from([0xff, 0xd8, 0xff, 0xe0]), Buffer.alloc(2 * 1024 * 1024 - 4, 1)]);
  const upload = async (bytes: Buffer) => {
    const form = new FormData();
    form.append('file', new Blob([new Uint8Array(bytes)], { type: 'image/jpeg' }), 'cover.jpg');
    const path = `/v2/devices/${caller.cid}/snapshots?client_token=${caller.token}`;
    return (await fetch(`${httpUrl}${path}`, { method: 'POST', body: form })).status;
  };
  expect(await upload(Buffer.concat([picture, Buffer.alloc(1)]))).toBe(413);
  expect(await upload(picture)).toBe(200);
  expect(await upload(picture)).toBe(429);
  const { json } = await post('devices/state', { cids: [caller.cid] });
  const [device] = json['devices'] as { cover_url: string }[];
  const cover = await fetch(device?.cover_url ?? '');
  expect([cover.status, cover.headers.get('content-type')]).toEqual([200, 'image/jpeg']);
  expect(Buffer.from(await cover.arrayBuffer()).equals(picture)).toBe(true);
});

it('an operator makes an app, and its server is told when a device comes', async () => {
  const operator = { authorization: `Bearer ${operatorKey}`, 'content-type': 'application/json' };
  const made = await fetch(`${httpUrl}/calls/apps`, {
    ...{ method: 'POST', headers: operator },
    body: JSON.stringify({ ranges: [{ begin: 7_001_000, end: 7_001_009 }] }),
  });
  expect(made.status).toBe(201);
  const { id, key } = (await made.json()) as { id: string; key: string };
  const own = { ...app, 'x-app-id': id, 'x-app-key': key };
  const told: string[] = [];
  const server = createServer((request, response) => {
    void text(request).then((body) => {
      if (request.method === 'POST') told.push(body);
      response.end();
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const state_webhook = `http://127.0.0.1:${(server.address() as AddressInfo).port}/state`;
  expect((await post('apps/webhook', { state_webhook }, own)).status).toBe(200);
  const { json } = await post('devices/tokens', { cids: [7_001_005] }, own);
  const [{ token } = { token: '' }] = json['tokens'] as { token: string }[];
  const socket = new WebSocket(`${httpUrl.replace('http', 'ws')}/v2/device/channel?client_token=${token}`);
  await once(socket, 'open');
  await waitFor(() => told.some((body) => body.includes('"state":1')), { what: 'the webhook', timeoutMs: 15_000 });
  expect(JSON.parse(told[0] ?? '')).toMatchObject({ event: 'device-state', data: { device: 7_001_005, state: 1 } });
  socket.close();
  server.closeAllConnections();
  server.close();
  await fetch(`${httpUrl}/calls/apps/${id}`, { method: 'DELETE', headers: operator });
});
