import { STATUS_CODES, type IncomingMessage, type Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { credentialOf, type Access, type Principal, type RefusalLog } from '@weir/access';
import { httpStatusOf } from '@weir/rest';
import { isWeirError } from '@weir/contracts';
import type { CutOff, Logger, UnfinishedFrames } from '@weir/platform';
import { encodeRefusal, errOf, type Err } from '@weir/protocol-turing';
import { WebSocket, WebSocketServer, type ServerOptions } from 'ws';
import { errOfFailure } from './media-errs.js';
import type { RobotMetrics } from './metrics.js';
import type { PeerSocket, SocketListener } from './peer-socket.js';

/** Handles the sockets of one path. */
export interface Channel {
  /** Throws WeirError if the principal isn't admitted. */
  admit(principal: Principal): Promise<(socket: PeerSocket) => SocketListener>;
}

export interface ChannelServerOptions {
  readonly channels: ReadonlyMap<string, Channel>;
  readonly access: Pick<Access, 'authenticate'>;
  readonly metrics: Pick<RobotMetrics, 'refused'>;
  readonly log: Logger;
  readonly refusals: Pick<RefusalLog, 'say'>;
  readonly maxPayloadBytes: number;
  readonly unfinishedFrames: UnfinishedFrames;
  /** Whether one more socket may be opened. */
  readonly hasRoom: () => boolean;
}

/** How long a peer may take to answer a close frame. After that its socket is destroyed. */
const CLOSE_TIMEOUT_MS = 2_000;

interface Admission {
  /** The holder whose limits the socket counts towards. */
  readonly holder: string;
  readonly open: (socket: PeerSocket) => SocketListener;
}

interface Refusal {
  readonly status: number;
  readonly err: Err;
}

const refusalOf = (error: unknown): Refusal => {
  if (!isWeirError(error)) return { status: 500, err: errOf('internal') };
  const status = httpStatusOf(error);
  return { status, err: status === 403 || status === 404 ? errOf('not-permitted') : errOfFailure(error) };
};

/** Accepts uncompressed WebSockets on the paths of its channels from clients with a valid token or key. */
export class ChannelServer {
  readonly #server: WebSocketServer;
  readonly #open = new Set<WebSocket>();
  #httpServer: Server | undefined;

  constructor(private readonly options: ChannelServerOptions) {
    // The types of `ws` lack `closeTimeout`.
    const serverOptions: ServerOptions & { closeTimeout: number } = {
      noServer: true,
      perMessageDeflate: false,
      clientTracking: false,
      maxPayload: options.maxPayloadBytes,
      closeTimeout: CLOSE_TIMEOUT_MS,
    };
    this.#server = new WebSocketServer(serverOptions);
  }

  listen(httpServer: Server): void {
    this.#httpServer = httpServer;
    httpServer.on('upgrade', this.#upgrade);
  }

  /** The HTTP server can't close while upgraded sockets are open. The close frames must have been sent before. */
  async close(): Promise<void> {
    this.#httpServer?.off('upgrade', this.#upgrade);
    const cutOff = setTimeout(() => {
      for (const socket of this.#open) socket.terminate();
    }, CLOSE_TIMEOUT_MS);
    await Promise.all([...this.#open].map((socket) => new Promise((resolve) => socket.once('close', resolve))));
    clearTimeout(cutOff);
    this.#server.close();
  }

  readonly #upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    socket.on('error', () => socket.destroy());
    this.#admit(request)
      .then((admission) => {
        if ('err' in admission) return this.#refuse(request, socket, admission);
        this.#server.handleUpgrade(request, socket, head, (client) => {
          const close = ({ code, reason }: CutOff) => client.close(code, reason);
          this.options.unfinishedFrames.watch(socket, admission.holder, close);
          this.#connected(client, admission.open);
        });
        return undefined;
      })
      .catch((error: unknown) => {
        this.options.log.error({ err: error }, 'a handshake failed unexpectedly');
        socket.destroy();
      });
  };

  async #admit(request: IncomingMessage): Promise<Refusal | Admission> {
    const path = (request.url ?? '').split('?', 1)[0]?.replace(/\/$/, '') ?? '';
    const channel = this.options.channels.get(path);
    if (channel === undefined) return { status: 404, err: errOf('unknown-act') };
    const credential = credentialOf(request);
    if (credential === undefined) return { status: 401, err: errOf('not-logged-in') };
    try {
      const principal = await this.options.access.authenticate(credential);
      const open = await channel.admit(principal);
      if (!this.options.hasRoom()) return { status: 503, err: errOf('unavailable') };
      return { holder: `${principal.tenant}/${principal.subject}`, open };
    } catch (error) {
      const refusal = refusalOf(error);
      if (refusal.status >= 500) this.options.log.warn({ err: error, path }, 'a socket could not be admitted');
      return refusal;
    }
  }

  #refuse(request: IncomingMessage, socket: Duplex, { status, err }: Refusal): void {
    this.options.metrics.refused('handshake', err.dm);
    // The query is left out because it may hold a token.
    const path = request.url?.split('?', 1)[0];
    const address = request.headers['x-forwarded-for'] ?? request.socket.remoteAddress;
    this.options.refusals.say('channel refused', { path, address, status, reason: err.dm }, request.headers);
    const body = encodeRefusal(err);
    const headers = [
      `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
      'Connection: close',
      'Content-Type: application/json; charset=utf-8',
      `Content-Length: ${Buffer.byteLength(body)}`,
      ...(status === 401 ? ['WWW-Authenticate: Bearer'] : []),
      ...(status === 503 ? ['Retry-After: 1'] : []),
    ];
    socket.end(`${headers.join('\r\n')}\r\n\r\n${body}`);
  }

  #connected(client: WebSocket, open: (socket: PeerSocket) => SocketListener): void {
    this.#open.add(client);
    const listener = open(peerSocket(client));
    client.on('message', (data, isBinary) => {
      if (isBinary) listener.binaryFrame(lengthOf(data));
      else listener.frame(textOf(data));
    });
    client.on('pong', () => listener.pong());
    client.on('ping', () => listener.pong());
    // The socket layer has already answered the broken or oversized frame with a close frame.
    client.on('error', (error) => {
      this.options.refusals.say('a peer broke the WebSocket protocol', { reason: error.message });
      listener.closed();
    });
    client.on('close', () => {
      this.#open.delete(client);
      listener.closed();
    });
  }
}

type Data = Buffer | ArrayBuffer | Buffer[];

const textOf = (data: Data): string =>
  Array.isArray(data)
    ? Buffer.concat(data).toString()
    : data instanceof ArrayBuffer
      ? Buffer.from(data).toString()
      : data.toString();

const lengthOf = (data: Data): number =>
  Array.isArray(data) ? data.reduce((sum, part) => sum + part.byteLength, 0) : data.byteLength;

const peerSocket = (socket: WebSocket): PeerSocket => ({
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
