/**
 * The minimum for devices: a `ws` server that pings each device every thirty seconds, and passes on what is requested
 * over NATS to the device that the request names. The reply comes when the device has acknowledged. No tokens, no
 * presence, no store. It runs as a separate program; see ChildProgram.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { randomUUID } from 'node:crypto';
import { connect, type Msg } from '@nats-io/transport-node';
import { WebSocketServer, type WebSocket } from 'ws';
import { announce } from './child-program.js';
import { natsServerOf } from './nats-url.js';

export interface BareDevicesReady {
  port: number;
  /** For requests `{cid, msg}`. */
  subject: string;
}

const PING_INTERVAL_MS = 30_000;
const SLICES = 120;

const [natsUrl = ''] = process.argv.slice(2);
const subject = `bench.devices.${randomUUID()}`;
const devices = new Map<string, WebSocket>();
const waiting = new Map<string, Msg>();
const slices = Array.from({ length: SLICES }, () => new Set<WebSocket>());
let count = 0;

const httpServer = createServer();
new WebSocketServer({ server: httpServer, perMessageDeflate: false, clientTracking: false }).on(
  'connection',
  (socket, { url = '' }) => {
    const cid = new URLSearchParams(url.split('?')[1]).get('cid') ?? '';
    const slice = slices[count++ % SLICES];
    slice?.add(socket);
    devices.set(cid, socket);
    socket.on('message', (data: Buffer) => {
      const { id } = JSON.parse(data.toString()) as { id: string };
      waiting.get(id)?.respond();
      waiting.delete(id);
    });
    socket.on('error', () => undefined); // `close` follows
    socket.on('close', () => {
      slice?.delete(socket);
      if (devices.get(cid) === socket) devices.delete(cid);
    });
  },
);
let turn = 0;
setInterval(() => {
  for (const socket of slices[turn++ % SLICES] ?? []) socket.ping();
}, PING_INTERVAL_MS / SLICES);

const nats = await connect(natsServerOf(natsUrl));
nats.subscribe(subject, {
  callback: (_error, request) => {
    const { cid, msg } = request.json<{ cid: number; msg: string }>();
    const id = randomUUID();
    waiting.set(id, request);
    devices.get(String(cid))?.send(JSON.stringify({ Name: 'PopMessage', Message: msg, SrcID: 0, id }));
  },
});
await nats.flush();

httpServer.listen(0, '127.0.0.1', () => {
  const ready: BareDevicesReady = { port: (httpServer.address() as AddressInfo).port, subject };
  announce(ready);
});
