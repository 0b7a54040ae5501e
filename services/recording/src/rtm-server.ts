import { STATUS_CODES, type IncomingMessage, type Server } from 'node:http';
import type { Duplex } from 'node:stream';
import type { RecordingAccess, RefusalLog } from '@weir/access';
import { ErrorCode, isWeirError, WeirError } from '@weir/contracts';
import type { CutOff, Logger, UnfinishedFrames } from '@weir/platform';
import type { Generation } from '@weir/protocol-eyeson';
import { restErrorBody, restErrorOf } from '@weir/rest';
import { WebSocket, WebSocketServer, type ServerOptions } from 'ws';
import type { SessionSocket, ClientSocket, SocketHolder } from './session-socket.js';
import type { SessionSockets } from './session-sockets.js';

export const CLIENT_PATH = '/api/v2/io';
export const SUPERVISOR_PATH = '/api/v2/supervisor_io';
export const FIRST_GENERATION_PATH = '/api/session/io';

export interface RtmServerOptions {
  readonly access: Pick<RecordingAccess, 'authenticate'>;
  readonly sockets: Pick<SessionSockets, 'open' | 'hasRoom'>;
  readonly unfinishedFrames: UnfinishedFrames;
  readonly maxPayloadBytes: number;
  readonly refusals: Pick<RefusalLog, 'say'>;
  readonly log: Logger;
}

interface Admission {
  readonly holder: SocketHolder;
  readonly generation: Generation;
}

/** A client has this long to answer a close frame. Then its socket is destroyed. */
const CLOSE_TIMEOUT_MS = 2_000;
/** The first generation's SDK sends `auth_token`. */
const TOKEN_NAMES = ['auth_token', 'token'];

interface Place {
  readonly kind: SocketHolder['kind'];
  readonly generation: Generation;
}

const placeOf = (path: string): Place | undefined => {
  if (path === CLIENT_PATH) return { kind: 'client', generation: 'second' };
  if (path === FIRST_GENERATION_PATH) return { kind: 'client', generation: 'first' };
  return path.startsWith(`${SUPERVISOR_PATH}/`) ? { kind: 'supervisor', generation: 'second' } : undefined;
};

const tokenOf = ({ headers }: IncomingMessage, query: URLSearchParams): string | undefined =>
  /^Bearer +(\S+) *$/i.exec(headers.authorization ?? '')?.[1] ??
  TOKEN_NAMES.map((name) => query.get(name)).find((value) => value !== null && value !== '') ??
  undefined;

/** Accepts the WebSockets of sessions, uncompressed, from holders of a token of the right kind. */
export class RtmServer {
  readonly #server: WebSocketServer;
  readonly #open = new Set<WebSocket>();
  #httpServer: Server | undefined;

  constructor(private readonly options: RtmServerOptions) {
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
    this.#admit(request).then(
      ({ holder, generation }) =>
        this.#server.handleUpgrade(request, socket, head, (client) => {
          const close = ({ code, reason }: CutOff) => client.close(code, reason);
          this.options.unfinishedFrames.watch(socket, `${holder.tenant}/${holder.clientId}`, close);
          this.#connected(client, this.options.sockets.open(clientSocket(client), holder, generation));
        }),
      (error: unknown) => this.#refuse(request, socket, error),
    );
  };

  async #admit(request: IncomingMessage): Promise<Admission> {
    const [path = '', query = ''] = (request.url ?? '').split('?', 2);
    const place = placeOf(path.replace(/\/$/, ''));
    if (place === undefined) throw new WeirError(ErrorCode.NOT_FOUND, 'There is nothing at this path');
    const token = tokenOf(request, new URLSearchParams(query));
    if (token === undefined)
      throw new WeirError(ErrorCode.UNAUTHENTICATED, 'A token is needed: append ?auth_token=<token>');
    const holder = await this.options.access.authenticate(token);
    if (holder.kind === 'stats' || holder.kind !== place.kind)
      throw new WeirError(ErrorCode.FORBIDDEN, `The token is for a ${holder.kind}; here a ${place.kind} connects`);
    if (!this.options.sockets.hasRoom)
      throw new WeirError(ErrorCode.UNAVAILABLE, 'There is no room for more sessions now; try again');
    return { holder, generation: place.generation };
  }

  #refuse(request: IncomingMessage, socket: Duplex, error: unknown): void {
    const answer = restErrorOf(error);
    const { status, message: reason } = answer;
    // The query is left out because it may hold a token.
    const path = request.url?.split('?', 1)[0];
    if (!isWeirError(error) || status >= 500)
      this.options.log.warn({ err: error, path }, 'a socket could not be admitted');
    else this.options.refusals.say('socket refused', { path, status, reason });
    const body = JSON.stringify(restErrorBody(answer));
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

  #connected(client: WebSocket, session: SessionSocket): void {
    this.#open.add(client);
    client.on('message', (data, isBinary) => {
      const bytes = bytesOf(data);
      if (isBinary) session.take({ type: 'binary-frame', byteLength: bytes.byteLength });
      else session.frame(bytes.toString());
    });
    client.on('pong', () => session.heard());
    client.on('ping', () => session.heard());
    // The socket layer has already answered the broken or oversized frame with a close frame.
    client.on('error', (error) => {
      this.options.refusals.say('a client broke the WebSocket protocol', { reason: error.message });
      session.take({ type: 'terminate', cause: 'CONN_ERROR' });
    });
    client.on('close', () => {
      this.#open.delete(client);
      session.take({ type: 'socket-closed' });
    });
  }
}

const bytesOf = (data: Buffer | ArrayBuffer | Buffer[]): Buffer =>
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
