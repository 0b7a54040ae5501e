import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { WebSocketServer, type WebSocket } from 'ws';

export interface ReceivedRequest {
  method: string;
  url: string;
  headers: IncomingMessage['headers'];
  body: string;
}

/** A real HTTP and WebSocket server in the place of one of the services. */
export interface ServiceStandIn {
  url: string;
  port: number;
  requests: ReceivedRequest[];
  /** Open sockets, with the handshakes that opened them. */
  sockets: { socket: WebSocket; handshake: IncomingMessage }[];
  server: Server;
  /** Cuts every connection and frees the port, as a killed process does. */
  kill(): Promise<void>;
}

export interface StandInOptions {
  port?: number;
  onRequest?: (request: IncomingMessage, response: ServerResponse) => void;
  /** Answers upgrades instead of the WebSocket server. */
  onUpgrade?: (request: IncomingMessage, socket: Socket) => void;
  onSocket?: (socket: WebSocket) => void;
}

const running = new Set<ServiceStandIn>();

/** By default, echoes requests as JSON and WebSocket messages unchanged. */
export async function startService(options: StandInOptions = {}): Promise<ServiceStandIn> {
  const server = createServer();
  const connections = new Set<Socket>();
  server.on('connection', (socket) => {
    connections.add(socket);
    socket.once('close', () => connections.delete(socket));
  });
  const standIn: ServiceStandIn = {
    url: '',
    port: 0,
    requests: [],
    sockets: [],
    server,
    kill: async () => {
      running.delete(standIn);
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of connections) socket.destroy();
      await closed;
    },
  };
  server.on('request', (request, response) => {
    if (options.onRequest !== undefined) options.onRequest(request, response);
    else void echo(standIn, request, response);
  });
  const webSockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
  server.on('upgrade', (request, socket: Socket, head) => {
    if (options.onUpgrade !== undefined) {
      options.onUpgrade(request, socket);
      return;
    }
    webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      standIn.sockets.push({ socket: webSocket, handshake: request });
      webSocket.on('error', () => undefined);
      if (options.onSocket !== undefined) options.onSocket(webSocket);
      else webSocket.on('message', (data, binary) => webSocket.send(data, { binary }));
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, '127.0.0.1', resolve);
  });
  standIn.port = (server.address() as AddressInfo).port;
  standIn.url = `http://127.0.0.1:${standIn.port}`;
  running.add(standIn);
  return standIn;
}

/** For `afterEach`. */
export async function stopServices(): Promise<void> {
  await Promise.all([...running].map((service) => service.kill()));
}

async function echo(standIn: ServiceStandIn, request: IncomingMessage, response: ServerResponse): Promise<void> {
  let body: string;
  try {
    body = await text(request);
  } catch {
    // The request was aborted; there is nobody to answer.
    response.destroy();
    return;
  }
  const received = { method: request.method ?? '', url: request.url ?? '', headers: request.headers, body };
  standIn.requests.push(received);
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(received));
}
