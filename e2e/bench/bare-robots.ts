/**
 * The minimum for robots: a `ws` server that pings each robot as robot-channel does, tells apps which robots come and
 * go, and forwards an app's commands to the robot that they name, and its replies back. No log-in, no rights, no store.
 * It runs as a separate program; see ChildProgram.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WebSocketServer, type WebSocket } from 'ws';
import { announce } from './child-program.js';

export interface BareRobotsReady {
  port: number;
}

const PING_INTERVAL_MS = 2_500;
const SLICES = 25;

const httpServer = createServer();
const server = new WebSocketServer({ server: httpServer, perMessageDeflate: false, clientTracking: false });
const robots = new Map<string, WebSocket>();
const slices = Array.from({ length: SLICES }, () => new Set<WebSocket>());
const apps = new Set<WebSocket>();
const asked = new Map<string, { app: WebSocket; id: unknown }>();
let count = 0;

interface Message {
  id: string;
  act: string;
  arg: { robot_id: string };
}

const tell = (robotId: string, status: string) => {
  for (const app of apps) app.send(JSON.stringify({ act: 'robot.state', arg: { robot_id: robotId, status } }));
};

server.on('connection', (socket, request) => {
  socket.on('error', () => undefined); // `close` follows
  const url = new URL(request.url ?? '/', 'http://bare');
  if (url.pathname === '/app') openApp(socket);
  else openRobot(socket, url.searchParams.get('token') ?? '');
});

function openApp(socket: WebSocket): void {
  apps.add(socket);
  socket.on('close', () => apps.delete(socket));
  socket.on('message', (data: Buffer) => {
    const { id, act, arg } = JSON.parse(data.toString()) as Message;
    const ref = String(count++);
    asked.set(ref, { app: socket, id });
    robots.get(arg.robot_id)?.send(JSON.stringify({ id: ref, act, arg }));
  });
}

function openRobot(socket: WebSocket, robotId: string): void {
  const slice = slices[count++ % SLICES];
  slice?.add(socket);
  robots.set(robotId, socket);
  tell(robotId, 'online');
  socket.on('close', () => {
    slice?.delete(socket);
    robots.delete(robotId);
    tell(robotId, 'robot_offline');
  });
  socket.on('message', (data: Buffer) => {
    const reply = JSON.parse(data.toString()) as Message;
    const { app, id } = asked.get(reply.id) ?? {};
    asked.delete(reply.id);
    app?.send(JSON.stringify({ ...reply, id }));
  });
}

let turn = 0;
setInterval(() => {
  for (const socket of slices[turn++ % SLICES] ?? []) socket.ping();
}, PING_INTERVAL_MS / SLICES);

httpServer.listen(0, '127.0.0.1', () => {
  const ready: BareRobotsReady = { port: (httpServer.address() as AddressInfo).port };
  announce(ready);
});
