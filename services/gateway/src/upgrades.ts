import {
  request as httpRequest,
  ServerResponse,
  type ClientRequest,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type Server,
} from 'node:http';
import { request as httpsRequest } from 'node:https';
import { connect, type Socket } from 'node:net';
import { connect as connectTls, TLSSocket } from 'node:tls';
import { AddressCounts, rateKey } from '@weir/platform';
import type { AllowedSites } from './allowed-sites.js';
import { originOf, type Origin, type TrustedProxies } from './client-address.js';
import type { EdgeTelemetry, RequestTrace } from './edge-telemetry.js';
import { connectionTokens, headersForClient, headersForService } from './forwarded-headers.js';
import { errorBody, GatewayError, upstreamError } from './gateway-error.js';
import type { RateCounters } from './rate-counters.js';
import type { Refusals } from './refusals.js';
import { requestIdOf } from './request-id.js';
import { claimant, UNCLAIMED_SOCKETS, type ServiceName } from './routes.js';
import { Splice } from './splice.js';
import type { Upstreams } from './upstreams.js';

/** The idle time after which the system probes whether the other side is still there. */
const TCP_KEEP_ALIVE_MS = 30_000;
const REFUSAL_LINGER_MS = 1_000;
const MINUTE_MS = 60_000;

export interface UpgradePorts {
  upstreams: Upstreams;
  counters: RateCounters;
  telemetry: EdgeTelemetry;
  refusals: Refusals;
  sites: AllowedSites;
  trustedProxies: TrustedProxies;
  handshakeTimeoutMs: number;
  socketsPerAddress: number;
  upgradesPerMinute: number;
}

interface Handshake {
  request: IncomingMessage;
  client: Socket;
  /** The bytes that the client sent right after its handshake. */
  head: Buffer;
  origin: Origin;
  requestId: string;
  trace: RequestTrace;
}

/**
 * Forwards WebSockets to the services. The handshake is an HTTP request like any other, and if it fails, the gateway
 * answers like to any other. Once the service has switched protocols, the two sockets are spliced and their frames are
 * not inspected. A library's proxy would send its own error answers and keep the handshake's objects in memory as long
 * as the socket is open.
 */
export class Upgrades {
  readonly #splices = new Set<Splice>();
  readonly #socketsOf = new AddressCounts();
  #draining = false;

  constructor(private readonly ports: UpgradePorts) {}

  get openSockets(): number {
    return this.#splices.size;
  }

  get heldBytes(): number {
    let sum = 0;
    for (const splice of this.#splices) sum += splice.heldBytes;
    return sum;
  }

  /** The handler of a server's 'upgrade' event. */
  handle(server: Server, request: IncomingMessage, client: Socket, head: Buffer): void {
    client.on('error', () => client.destroy());
    if (request.headers.upgrade?.toLowerCase() !== 'websocket') {
      continueWithoutUpgrade(server, request, client, head);
      return;
    }
    const origin = originOf(request, this.ports.trustedProxies);
    const requestId = requestIdOf(request);
    const trace = this.ports.telemetry.begin(request, { requestId, clientAddress: origin.address });
    const handshake = { request, client, head, origin, requestId, trace };
    this.#accept(handshake).catch((error: unknown) => this.#refuse(handshake, error));
  }

  /** Accepts no more sockets and ends the open ones. */
  drain(): void {
    this.#draining = true;
    for (const splice of this.#splices) splice.end();
  }

  destroy(): void {
    for (const splice of this.#splices) splice.destroy();
  }

  async #accept(handshake: Handshake): Promise<void> {
    const { request, client, origin, trace } = handshake;
    if (this.#draining) throw new GatewayError('DRAINING', 'the gateway is stopping', { retryAfterS: 1 });
    checkHandshake(request);
    this.ports.sites.checkHost(origin.host);
    this.ports.sites.checkOrigin({ origin: request.headers.origin, host: origin.host });
    const { service, route } = destination(request.url ?? '/');
    trace.route(route, service);
    const url = this.ports.upstreams.url(service);

    const key = rateKey(origin.address);
    await this.#checkRate(key);
    if (client.destroyed) return trace.end(499);
    if (!this.#socketsOf.take(key, this.ports.socketsPerAddress))
      throw new GatewayError('TOO_MANY_SOCKETS', 'too many WebSockets are open from this address');
    releaseWithSocket(this.#socketsOf, key, client);

    this.#shakeHands(handshake, service, url);
  }

  async #checkRate(key: string): Promise<void> {
    const limit = this.ports.upgradesPerMinute;
    if (limit === 0) return;
    const { current, ttlMs } = await this.ports.counters.increment(`upgrade:${key}`, MINUTE_MS);
    if (current > limit)
      throw new GatewayError('RATE_LIMITED', 'too many WebSocket handshakes from this address', {
        retryAfterS: Math.ceil(ttlMs / 1_000),
      });
  }

  #shakeHands(handshake: Handshake, service: ServiceName, url: URL): void {
    const { client } = handshake;
    const toService = requestUpgrade(handshake, url);
    const timer = setTimeout(
      () => toService.destroy(new GatewayError('UPSTREAM_TIMEOUT', `${service} didn't answer in time`)),
      this.ports.handshakeTimeoutMs,
    );
    const giveUp = () => toService.destroy();
    client.once('close', giveUp);
    // A socket notices a reset only while it is read; the bytes that arrive wait in its buffer.
    client.read(0);
    const settled = () => {
      clearTimeout(timer);
      client.removeListener('close', giveUp);
    };

    toService.once('upgrade', (response, socket, head) => {
      settled();
      this.ports.upstreams.answered(service);
      this.#join(handshake, response, socket, head);
    });
    toService.once('response', (response) => {
      settled();
      this.ports.upstreams.answered(service);
      relayRefusal(handshake, response);
    });
    toService.on('error', (error) => {
      settled();
      if (client.destroyed) return handshake.trace.end(499);
      this.ports.upstreams.failed(service, error);
      this.#refuse(handshake, upstreamError(service, error));
    });
    toService.end();
  }

  #join(handshake: Handshake, response: IncomingMessage, service: Socket, serviceHead: Buffer): void {
    const { client, head, requestId, trace } = handshake;
    if (client.destroyed || response.headers.upgrade?.toLowerCase() !== 'websocket') {
      service.destroy();
      if (client.destroyed) trace.end(499);
      else this.#refuse(handshake, new GatewayError('UPSTREAM_FAILED', 'the service switched to another protocol'));
      return;
    }
    keepAlive(client);
    keepAlive(service);
    client.write(switchingProtocols(response, requestId), 'latin1');
    if (serviceHead.length > 0) client.write(serviceHead);
    if (head.length > 0) service.write(head);
    this.#add(client, service);
    trace.end(101);
  }

  #refuse(handshake: Handshake, reason: unknown): void {
    const { request, client, origin, requestId, trace } = handshake;
    const error =
      reason instanceof GatewayError
        ? reason
        : new GatewayError('INTERNAL', 'the gateway failed on this request', { cause: reason });
    trace.end(error.statusCode);
    this.ports.refusals.request(error, request, origin, requestId);
    if (!client.destroyed) answerRefusal(handshake, error);
  }

  /** A method of its own, so that its closures keep nothing of the handshake in memory. */
  #add(client: Socket, service: Socket): void {
    const splice = new Splice(client, service, () => this.#splices.delete(splice));
    this.#splices.add(splice);
    if (this.#draining) splice.end();
  }
}

/** @throws GatewayError if the request is no WebSocket handshake (RFC 6455, 4.2.1) */
function checkHandshake(request: IncomingMessage): void {
  const { headers } = request;
  if (request.method !== 'GET' || request.httpVersion !== '1.1')
    throw new GatewayError('BAD_REQUEST', 'a WebSocket handshake must be a GET request of HTTP/1.1');
  if (headers['sec-websocket-key'] === undefined)
    throw new GatewayError('BAD_REQUEST', 'a WebSocket handshake needs the header Sec-WebSocket-Key');
  if (headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) !== 0)
    throw new GatewayError('BAD_REQUEST', 'a WebSocket handshake must have no body');
  if (request.url?.startsWith('/') !== true)
    throw new GatewayError('BAD_REQUEST', 'a WebSocket handshake must name a path');
}

function destination(url: string): { service: ServiceName; route: string } {
  const route = claimant(url.split('?', 1)[0] ?? '/');
  if (route === undefined) return { service: UNCLAIMED_SOCKETS, route: '*' };
  if (route.sockets !== true)
    throw new GatewayError('BAD_REQUEST', `${route.path} doesn't accept WebSockets; connect to / or another path`);
  return { service: route.service, route: route.path };
}

function requestUpgrade({ request, origin, requestId, trace }: Handshake, url: URL): ClientRequest {
  const secure = url.protocol === 'https:';
  const port = Number(url.port === '' ? (secure ? 443 : 80) : url.port);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const headers = {
    ...trace.inject(headersForService(request.headers, origin, requestId)),
    host: url.host,
    connection: 'Upgrade',
    upgrade: 'websocket',
  };
  const createConnection = () => (secure ? connectTls({ host, port, servername: host }) : connect({ host, port }));
  return (secure ? httpsRequest : httpRequest)({ host, port, path: request.url, headers, createConnection });
}

function keepAlive(socket: Socket): void {
  socket.setTimeout(0);
  socket.setNoDelay(true);
  socket.setKeepAlive(true, TCP_KEEP_ALIVE_MS);
}

function releaseWithSocket(counts: AddressCounts, key: string, socket: Socket): void {
  socket.once('close', () => counts.release(key));
}

/** The service's 101 with the request's id added. Node has parsed it, so no value holds a line break. */
function switchingProtocols(response: IncomingMessage, requestId: string): string {
  const lines = ['HTTP/1.1 101 Switching Protocols'];
  for (let index = 0; index < response.rawHeaders.length; index += 2) {
    const name = response.rawHeaders[index] ?? '';
    if (name.toLowerCase() !== 'x-request-id') lines.push(`${name}: ${response.rawHeaders[index + 1] ?? ''}`);
  }
  return `${lines.join('\r\n')}\r\nX-Request-Id: ${requestId}\r\n\r\n`;
}

/** Passes on the service's own answer to a handshake that it didn't accept. */
function relayRefusal(handshake: Handshake, response: IncomingMessage): void {
  const statusCode = response.statusCode ?? 502;
  const answer = answerOn(handshake);
  answer.writeHead(statusCode, { ...headersForClient(response.headers), 'x-request-id': handshake.requestId });
  response.on('error', () => handshake.client.destroy());
  response.pipe(answer);
  handshake.trace.end(statusCode);
}

function answerRefusal(handshake: Handshake, error: GatewayError): void {
  const body = JSON.stringify(errorBody(error, handshake.requestId));
  const headers: OutgoingHttpHeaders = {
    'content-type': 'application/json; charset=utf-8',
    'content-length': Buffer.byteLength(body),
    'x-request-id': handshake.requestId,
  };
  if (error.retryAfterS !== undefined) headers['retry-after'] = String(error.retryAfterS);
  answerOn(handshake).writeHead(error.statusCode, headers).end(body);
}

/** An HTTP answer on a socket that Node no longer manages; it is the last thing sent there. */
function answerOn({ request, client }: Handshake): ServerResponse {
  const answer = new ServerResponse(request);
  answer.shouldKeepAlive = false;
  answer.assignSocket(client);
  answer.once('finish', () => {
    answer.detachSocket(client);
    client.end();
    // If the bytes that still arrive weren't read, the system would reset the connection and cut the answer off.
    client.resume();
    setTimeout(() => client.destroy(), REFUSAL_LINGER_MS).unref();
  });
  return answer;
}

/**
 * Serves a request that offers another protocol (`Upgrade: h2c` of Java's HTTP client) as if it didn't. RFC 9110, 7.8
 * lets a server ignore the offer, but Node has already detached the connection when it reports the offer. So the
 * request, without the offer, is put back in front of the connection and read again by the same strict parser.
 */
function continueWithoutUpgrade(server: Server, request: IncomingMessage, client: Socket, head: Buffer): void {
  const lines = [`${request.method ?? 'GET'} ${request.url ?? '/'} HTTP/${request.httpVersion}`];
  for (let index = 0; index < request.rawHeaders.length; index += 2) {
    const name = request.rawHeaders[index] ?? '';
    if (!['upgrade', 'connection', 'http2-settings'].includes(name.toLowerCase()))
      lines.push(`${name}: ${request.rawHeaders[index + 1] ?? ''}`);
  }
  const rest = [...connectionTokens(request.headers.connection)].filter(
    (token) => token !== 'upgrade' && token !== 'http2-settings',
  );
  if (rest.length > 0) lines.push(`Connection: ${rest.join(', ')}`);
  if (head.length > 0) client.unshift(head);
  client.unshift(Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'));
  server.emit(client instanceof TLSSocket ? 'secureConnection' : 'connection', client);
}
