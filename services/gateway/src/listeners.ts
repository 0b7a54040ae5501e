import { randomUUID } from 'node:crypto';
import {
  createServer as createHttp2Server,
  type Http2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from 'node:http2';
import { createServer, STATUS_CODES, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, Server as TlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { AddressCounts, rateKey } from '@weir/platform';
import { remoteAddressOf, type TrustedProxies } from './client-address.js';
import type { ConnectionBook } from './connection-book.js';
import { errorBody, GatewayError, type ErrorCode } from './gateway-error.js';
import type { ListeningPort } from './listening-ports.js';
import type { Refusals } from './refusals.js';
import type { Certificate } from './tls-certificate.js';

const MAX_HEADER_BYTES = 16 * 1024;
/** Longer than the 60 s after which common load balancers drop an idle connection, so that they close it first. */
const KEEP_ALIVE_TIMEOUT_MS = 72_000;
const IDLE_SWEEP_MS = 100;
const MAX_STREAMS_PER_CONNECTION = 100;
/** The connections that the operating system holds until they are accepted; all clients may come at once. */
const BACKLOG = 4_096;

export interface ListenerPorts {
  host: string;
  ports: readonly ListeningPort[];
  certificate: Certificate | undefined;
  headersTimeoutMs: number;
  requestTimeoutMs: number;
  /** 0 is no limit. Trusted proxies have none, because their connections carry other clients' requests. */
  connectionsPerAddress: number;
  trustedProxies: TrustedProxies;
  book: ConnectionBook;
  refusals: Refusals;
  onRequest: (request: IncomingMessage | Http2ServerRequest, response: ServerResponse | Http2ServerResponse) => void;
  onUpgrade: (server: Server, request: IncomingMessage, socket: Socket, head: Buffer) => void;
}

export interface OpenListener extends ListeningPort {
  /** The actual port, even if 0 was asked for. */
  port: number;
}

/** The public ports, all of which serve the same. */
export class Listeners {
  readonly #servers: { entry: ListeningPort; server: Server }[];
  readonly #http2: Http2Server;
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #connectionsOf = new AddressCounts();
  readonly #counted = new WeakSet<Socket>();

  constructor(private readonly options: ListenerPorts) {
    this.#http2 = this.#http2Server();
    this.#servers = options.ports.map((entry) => ({ entry, server: this.#serverFor(entry) }));
  }

  /** Opens every port or none. @throws Error naming the setting of the port that can't be opened */
  async listen(): Promise<OpenListener[]> {
    try {
      for (const { entry, server } of this.#servers) await open(server, entry, this.options.host);
    } catch (error) {
      await this.close();
      throw error;
    }
    return this.#servers.map(({ entry, server }) => ({ ...entry, port: (server.address() as AddressInfo).port }));
  }

  useCertificate(certificate: Certificate): void {
    for (const { server } of this.#servers) if (server instanceof TlsServer) server.setSecureContext(certificate);
  }

  /** Accepts nothing more; resolves when the last connection has ended. */
  async drain(): Promise<void> {
    const closed = Promise.all(this.#servers.map(({ server }) => closing(server)));
    for (const session of this.#sessions) session.close();
    // A connection that was busy when the server closed becomes idle later; Node counts an unused one as busy.
    const sweep = setInterval(() => {
      this.options.book.closeUnused();
      for (const { server } of this.#servers) server.closeIdleConnections();
    }, IDLE_SWEEP_MS);
    await closed;
    clearInterval(sweep);
  }

  /** Closes the ports and every connection at once. */
  async close(): Promise<void> {
    const closed = this.#servers.map(({ server }) => closing(server));
    for (const { server } of this.#servers) server.closeAllConnections();
    for (const session of this.#sessions) session.destroy();
    await Promise.all(closed);
  }

  #serverFor({ scheme }: ListeningPort): Server {
    const { certificate, headersTimeoutMs, requestTimeoutMs, book, onRequest, onUpgrade } = this.options;
    const options = {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: headersTimeoutMs,
      requestTimeout: requestTimeoutMs,
      connectionsCheckingInterval: Math.min(1_000, headersTimeoutMs),
      keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
      noDelay: true,
    };
    if (scheme === 'https' && certificate === undefined) throw new Error('a TLS port needs a certificate');
    const server: Server =
      scheme === 'https'
        ? createTlsServer({ ...options, ...certificate, minVersion: 'TLSv1.2', ALPNProtocols: ['h2', 'http/1.1'] })
        : createServer(options);
    if (scheme === 'https') this.#handOverHttp2(server);
    server.on('connection', (socket: Socket) => this.#count(socket));
    server.on(scheme === 'https' ? 'secureConnection' : 'connection', (socket: Socket) => book.enter(socket));
    server.on('request', onRequest);
    server.on('upgrade', (request, socket: Socket, head) => onUpgrade(server, request, socket, head));
    server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => this.#refuseBroken(error, socket));
    return server;
  }

  /**
   * Clients agree on the protocol in the TLS handshake. The listening server is one of HTTP/1.1, because WebSockets
   * need it and its time limits apply to every connection that isn't HTTP/2.
   */
  #handOverHttp2(server: Server): void {
    const takers = server.listeners('secureConnection');
    server.removeAllListeners('secureConnection');
    server.on('secureConnection', (socket: TLSSocket) => {
      if (socket.alpnProtocol === 'h2') this.#http2.emit('connection', socket);
      else for (const take of takers) Reflect.apply(take, server, [socket]);
    });
  }

  #http2Server(): Http2Server {
    const server = createHttp2Server({
      settings: { maxConcurrentStreams: MAX_STREAMS_PER_CONNECTION },
      maxHeaderListPairs: 100,
    });
    server.on('session', (session) => {
      this.#sessions.add(session);
      session.setTimeout(KEEP_ALIVE_TIMEOUT_MS, () => session.close());
      session.on('error', () => session.destroy());
      session.once('close', () => this.#sessions.delete(session));
    });
    // A client's protocol error ends only its own stream or session.
    server.on('sessionError', () => undefined);
    server.on('request', (request, response) => {
      request.on('error', () => undefined);
      response.on('error', () => undefined);
      this.options.onRequest(request, response);
    });
    return server;
  }

  /** A connection comes here twice if its first request is read again without its offer to upgrade. */
  #count(socket: Socket): void {
    const { connectionsPerAddress, trustedProxies } = this.options;
    const address = remoteAddressOf(socket);
    if (this.#counted.has(socket) || trustedProxies.includes(address)) return;
    this.#counted.add(socket);
    const key = rateKey(address);
    if (this.#connectionsOf.take(key, connectionsPerAddress))
      socket.once('close', () => this.#connectionsOf.release(key));
    else {
      const reason = 'too many connections from this address at the same time';
      this.options.refusals.connection(new GatewayError('RATE_LIMITED', reason), address);
      socket.destroy();
    }
  }

  /** Answers bytes that aren't an acceptable request, and ends the connection. */
  #refuseBroken(error: NodeJS.ErrnoException, socket: Socket): void {
    if (error.code === 'ECONNRESET') {
      socket.destroy();
      return;
    }
    const [code, message] = brokenRequest(error.code);
    const reason = new GatewayError(code, message, { cause: error });
    // A client that closes its half during a request has aborted it; the gateway hasn't refused it.
    if (error.code !== 'HPE_INVALID_EOF_STATE') this.options.refusals.connection(reason, remoteAddressOf(socket));
    if (socket.writable) answerBroken(reason, socket);
    else socket.destroy();
  }
}

function open(server: Server, entry: ListeningPort, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(new Error(whyNot(error, entry, host), { cause: error })),
    );
    server.listen({ port: entry.port, host, backlog: BACKLOG }, resolve);
  });
}

function whyNot(error: NodeJS.ErrnoException, { port, purpose, setting }: ListeningPort, host: string): string {
  const advice =
    setting === 'WEIR_COMPAT_PORTS'
      ? 'stop what uses it, or start without WEIR_COMPAT_PORTS'
      : `set ${setting} to another port`;
  switch (error.code) {
    case 'EADDRINUSE':
      return `${setting}: port ${port} (${purpose}) is already in use on ${host}; ${advice}`;
    case 'EACCES':
      return `${setting}: this process has no permission to open port ${port} (${purpose}); ${advice}`;
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return `WEIR_HTTP_HOST: ${host} isn't an address of this machine`;
    default:
      return `${setting}: can't listen on port ${port} of ${host}: ${error.message}`;
  }
}

const closing = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    // The only possible error says that the server isn't listening, which is what the caller wants.
    server.close(() => resolve());
  });

function answerBroken(reason: GatewayError, socket: Socket): void {
  const body = JSON.stringify(errorBody(reason, randomUUID()));
  socket.end(
    [
      `HTTP/1.1 ${reason.statusCode} ${STATUS_CODES[reason.statusCode] ?? ''}`,
      'Content-Type: application/json; charset=utf-8',
      `Content-Length: ${Buffer.byteLength(body)}`,
      'Connection: close',
      '',
      body,
    ].join('\r\n'),
    () => socket.destroySoon(),
  );
}

function brokenRequest(code: string | undefined): [ErrorCode, string] {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return ['HEADERS_TOO_LARGE', `the headers are larger than ${MAX_HEADER_BYTES} bytes`];
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return ['REQUEST_TIMEOUT', 'the request arrived too slowly'];
    default:
      return ['BAD_REQUEST', 'this is not a valid HTTP request'];
  }
}
