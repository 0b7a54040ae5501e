import { STATUS_CODES, type IncomingMessage, type Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { ErrorCode, WeirError } from '@weir/contracts';
import { WebSocket, WebSocketServer, type RawData, type ServerOptions } from 'ws';
import { contained } from '../contained.js';
import type { Logger } from '../logger.js';
import { UnfinishedFrames, type UnfinishedFramesOptions } from './unfinished-frames.js';

/** A client's WebSocket, for the code that speaks over it. */
export interface ClientSocket {
  send(text: string): void;
  ping(): void;
  /** A client that doesn't answer the close frame is cut off. */
  close(code: number, reason: string): void;
  /** The bytes that were sent and that the operating system hasn't taken yet. */
  readonly bufferedBytes: number;
}

/** Handles the events of one client's WebSocket. */
export interface SocketListener {
  frame(text: string): void;
  binaryFrame(byteLength: number): void;
  /** The client has sent a ping or a pong. A ping is already answered. */
  heard(): void;
  /** A frame was broken or too big. The client has been sent a close frame with the fitting code. */
  broken(reason: string): void;
  /** Always comes last, and once. */
  closed(): void;
}

export interface AdmittedSocket {
  /** The address or the holder of the credential whose unfinished frames are limited together. */
  readonly limitedWith: string;
  readonly open: (socket: ClientSocket) => SocketListener;
}

/** The HTTP answer to a client whose socket isn't opened. */
export interface SocketRefusal {
  readonly status: number;
  /** JSON, or empty. */
  readonly body: string;
}

export interface SocketServerOptions {
  /** Throws if the client may not open a socket. */
  readonly admit: (request: IncomingMessage) => AdmittedSocket | Promise<AdmittedSocket>;
  /** Whether one more socket may be opened. */
  readonly hasRoom: () => boolean;
  /** Answers what `admit` threw, or UNAVAILABLE if there was no room. */
  readonly refuse: (error: unknown, request: IncomingMessage) => SocketRefusal;
  readonly maxPayloadBytes: number;
  readonly unfinishedFrames: UnfinishedFramesOptions;
  readonly log: Pick<Logger, 'error'>;
}

/** A client has this long to answer a close frame, or to close its side after a refusal. Then it is cut off. */
const CLOSE_TIMEOUT_MS = 2_000;
/** RFC 6455, section 7.4.1. */
const UNEXPECTED_CODE = 1011;

/**
 * Accepts uncompressed WebSockets. A client is admitted or refused before the upgrade. Sockets are limited in the size
 * of a frame, in the time and memory of unfinished frames, and in the time that closing takes.
 */
export class SocketServer {
  readonly #server: WebSocketServer;
  readonly #unfinishedFrames: UnfinishedFrames;
  readonly #open = new Set<WebSocket>();
  #isClosing = false;

  constructor(private readonly options: SocketServerOptions) {
    // The types of `ws` lack `closeTimeout`.
    const serverOptions: ServerOptions & { closeTimeout: number } = {
      noServer: true,
      perMessageDeflate: false,
      clientTracking: false,
      maxPayload: options.maxPayloadBytes,
      closeTimeout: CLOSE_TIMEOUT_MS,
    };
    this.#server = new WebSocketServer(serverOptions);
    this.#unfinishedFrames = new UnfinishedFrames(options.unfinishedFrames);
  }

  listen(httpServer: Server): void {
    httpServer.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
  }

  /**
   * Opens no more sockets, and resolves when the open ones are closed. The listeners must have sent the close frames
   * before. Without this the HTTP server couldn't close.
   */
  async close(): Promise<void> {
    this.#isClosing = true;
    const cutOff = setTimeout(() => {
      for (const socket of this.#open) socket.terminate();
    }, CLOSE_TIMEOUT_MS);
    await Promise.all([...this.#open].map((socket) => new Promise((resolve) => socket.once('close', resolve))));
    clearTimeout(cutOff);
    this.#server.close();
    this.#unfinishedFrames.close();
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => socket.destroy());
    this.#admit(request)
      .then(
        ({ limitedWith, open }) =>
          this.#server.handleUpgrade(request, socket, head, (client) => {
            this.#unfinishedFrames.watch(socket, limitedWith, ({ code, reason }) => client.close(code, reason));
            this.#opened(client, open);
          }),
        (error: unknown) => sendRefusal(socket, this.options.refuse(error, request)),
      )
      .catch((error: unknown) => {
        this.options.log.error({ err: error }, 'a handshake failed unexpectedly');
        socket.destroy();
      });
  }

  async #admit(request: IncomingMessage): Promise<AdmittedSocket> {
    const admitted = await this.options.admit(request);
    if (this.#isClosing || !this.options.hasRoom())
      throw new WeirError(ErrorCode.UNAVAILABLE, 'There is no room for more sockets now; try again');
    return admitted;
  }

  #opened(client: WebSocket, open: AdmittedSocket['open']): void {
    const listener = open(clientSocket(client));
    this.#open.add(client);
    const { log } = this.options;
    const giveUp = () => client.close(UNEXPECTED_CODE, 'The server failed unexpectedly');
    const handled = <Args extends readonly unknown[]>(handle: (...args: Args) => void) =>
      contained({ log, whose: 'a client', giveUp }, handle);
    client.on(
      'message',
      handled((data: RawData, isBinary: boolean) => {
        const bytes = bytesOf(data);
        if (isBinary) listener.binaryFrame(bytes.byteLength);
        else listener.frame(bytes.toString());
      }),
    );
    client.on(
      'ping',
      handled(() => listener.heard()),
    );
    client.on(
      'pong',
      handled(() => listener.heard()),
    );
    client.on(
      'error',
      handled((error: Error) => listener.broken(error.message)),
    );
    client.on(
      'close',
      handled(() => {
        this.#open.delete(client);
        listener.closed();
      }),
    );
  }
}

const bytesOf = (data: RawData): Buffer =>
  Array.isArray(data) ? Buffer.concat(data) : data instanceof ArrayBuffer ? Buffer.from(data) : data;

const clientSocket = (socket: WebSocket): ClientSocket => ({
  send: (text) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(text);
  },
  ping: () => {
    if (socket.readyState === WebSocket.OPEN) socket.ping();
  },
  close: (code, reason) => socket.close(code, reason),
  get bufferedBytes() {
    return socket.bufferedAmount;
  },
});

const sendRefusal = (socket: Duplex, { status, body }: SocketRefusal): void => {
  const headers = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
    'Connection: close',
    ...(body === '' ? [] : ['Content-Type: application/json; charset=utf-8']),
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...(status === 401 ? ['WWW-Authenticate: Bearer'] : []),
    ...(status === 503 ? ['Retry-After: 1'] : []),
  ];
  socket.end(`${headers.join('\r\n')}\r\n\r\n${body}`);
  // What still arrives is read and dropped: otherwise the client's end of the connection couldn't be seen.
  socket.resume();
  const cutOff = setTimeout(() => socket.destroy(), CLOSE_TIMEOUT_MS).unref();
  socket.once('close', () => clearTimeout(cutOff));
};
