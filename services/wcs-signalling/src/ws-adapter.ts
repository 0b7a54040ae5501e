import { STATUS_CODES, type IncomingMessage, type Server } from 'node:http';
import type { Duplex } from 'node:stream';
import type { WebSocketAdapter } from '@nestjs/common';
import type { UnfinishedFrames } from '@weir/platform';
import { WebSocketServer, type ServerOptions, type WebSocket } from 'ws';

export interface WholeFrameOptions {
  readonly httpServer: Server;
  readonly maxPayloadBytes: number;
  readonly unfinishedFrames: UnfinishedFrames;
  /** The address whose limits the socket counts towards. */
  readonly addressOf: (request: IncomingMessage) => string;
  /** Whether one more socket may be opened. */
  readonly hasRoom: () => boolean;
}

/** A client has this long to answer a close frame. Then its socket is destroyed. */
const CLOSE_TIMEOUT_MS = 2_000;

/**
 * WebSockets on any path, uncompressed. It doesn't split frames into Nest's events: the gateway reads the socket itself
 * and gets whole frames.
 */
export class WholeFrameAdapter implements WebSocketAdapter<WebSocketServer, WebSocket> {
  #server: WebSocketServer | undefined;
  readonly #open = new Set<WebSocket>();

  constructor(private readonly options: WholeFrameOptions) {}

  create(): WebSocketServer {
    if (this.#server !== undefined) return this.#server;
    // The types don't have `closeTimeout` yet.
    const options: ServerOptions & { closeTimeout: number } = {
      noServer: true,
      perMessageDeflate: false,
      clientTracking: false,
      maxPayload: this.options.maxPayloadBytes,
      closeTimeout: CLOSE_TIMEOUT_MS,
    };
    const server = new WebSocketServer(options);
    this.options.httpServer.on('upgrade', this.#upgrade);
    this.#server = server;
    return server;
  }

  bindClientConnect(server: WebSocketServer, callback: (socket: WebSocket, request: IncomingMessage) => void): void {
    server.on('connection', callback);
  }

  bindMessageHandlers(): void {
    // The gateway binds its handlers when a socket connects.
  }

  /**
   * The HTTP server can't close while upgraded sockets are open. The sessions have sent their close frames. Clients
   * that don't answer are cut off.
   */
  async close(server: WebSocketServer): Promise<void> {
    this.options.httpServer.off('upgrade', this.#upgrade);
    const cutOff = setTimeout(() => this.#terminateAll(), CLOSE_TIMEOUT_MS);
    await Promise.all([...this.#open].map((socket) => new Promise((resolve) => socket.once('close', resolve))));
    clearTimeout(cutOff);
    await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  dispose(): void {
    this.#terminateAll();
  }

  #terminateAll(): void {
    for (const socket of this.#open) socket.terminate();
  }

  readonly #upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    const server = this.#server;
    if (server === undefined || !this.options.hasRoom()) {
      refuse(socket, 503);
      return;
    }
    const { unfinishedFrames, addressOf } = this.options;
    server.handleUpgrade(request, socket, head, (client) => {
      unfinishedFrames.watch(socket, addressOf(request), ({ code, reason }) => client.close(code, reason));
      this.#open.add(client);
      client.once('close', () => this.#open.delete(client));
      server.emit('connection', client, request);
    });
  };
}

const refuse = (socket: Duplex, status: number): void => {
  socket.on('error', () => socket.destroy());
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\nConnection: close\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n`,
  );
};
