/**
 * The minimum for idle sessions: a `ws` server that answers a client's first message and pings it every five seconds,
 * as a WCS server does. It runs as a separate program; see ChildProgram.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WebSocketServer, type WebSocket } from 'ws';
import { announce } from './child-program.js';

export interface BareWsReady {
  port: number;
}

const PING_INTERVAL_MS = 5_000;
/** A twenty-fifth of the sockets is pinged every 200 ms. */
const SLICES = 25;
const ANSWER = JSON.stringify({ message: 'getUserData', data: [{ status: 'ESTABLISHED' }] });
const PING = JSON.stringify({ message: 'ping', data: [null] });

const httpServer = createServer();
const server = new WebSocketServer({ server: httpServer, perMessageDeflate: false, clientTracking: false });
const slices = Array.from({ length: SLICES }, () => new Set<WebSocket>());
let count = 0;
server.on('connection', (socket) => {
  const slice = slices[count++ % SLICES];
  slice?.add(socket);
  socket.once('message', () => socket.send(ANSWER));
  socket.on('error', () => undefined); // `close` follows
  socket.on('close', () => slice?.delete(socket));
});
let turn = 0;
setInterval(() => {
  for (const socket of slices[turn++ % SLICES] ?? []) socket.send(PING);
}, PING_INTERVAL_MS / SLICES);

httpServer.listen(0, '127.0.0.1', () => {
  const ready: BareWsReady = { port: (httpServer.address() as AddressInfo).port };
  announce(ready);
});
