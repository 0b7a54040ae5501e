import {
  cloudMessageOf,
  encodeEvent,
  readRequest,
  type DeviceEvent,
  type DeviceRequest,
  type MessageName,
  type TypedEvent,
} from '@weir/protocol-topvdn';
import { waitFor } from '@weir/testing';
import { WebSocketServer, type WebSocket } from 'ws';

type StateEvent = Extract<TypedEvent, { type: 'state' }>;

export const DEVICE_CID = 1003469;

/** A server of the device channel that does what a spec tells it. It answers `state` and `ping` by itself. */
export class FakeServer {
  readonly requests: DeviceRequest[] = [];
  /** The tokens of the connections, in their order. */
  readonly tokens: string[] = [];
  state: Omit<StateEvent, 'type' | 'ref'> = { cid: DEVICE_CID, calls: [], rings: [], ice_servers: [] };
  answersPings = true;
  readonly #server: WebSocketServer;
  #socket: WebSocket | undefined;

  private constructor(server: WebSocketServer) {
    this.#server = server;
    server.on('connection', (socket, request) => {
      this.#socket = socket;
      this.tokens.push(new URL(request.url ?? '', 'http://server').searchParams.get('client_token') ?? '');
      socket.on('message', (data) => this.#read(String(data)));
    });
  }

  static async start(): Promise<FakeServer> {
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0, path: '/v2/device/channel' });
    await new Promise((resolve) => server.once('listening', resolve));
    return new FakeServer(server);
  }

  get url(): string {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('the server is closed');
    return `http://127.0.0.1:${address.port}`;
  }

  /** The first request of this type from the `from`-th on. */
  requested<Type extends DeviceRequest['type']>(type: Type, from = 0): Promise<Extract<DeviceRequest, { type: Type }>> {
    const isWanted = (request: DeviceRequest): request is Extract<DeviceRequest, { type: Type }> =>
      request.type === type;
    return waitFor(() => this.requests.slice(from).find(isWanted), { what: `a request ${type}` });
  }

  send(event: DeviceEvent): void {
    this.#socket?.send(encodeEvent(event));
  }

  say(name: MessageName, message: string, id?: string): void {
    this.send(cloudMessageOf(name, message, 0, id));
  }

  /** Ends the device's connection, as a network or a server does that is gone. */
  cut(): void {
    this.#socket?.terminate();
  }

  closeWith(code: number): void {
    this.#socket?.close(code);
  }

  async stop(): Promise<void> {
    for (const socket of this.#server.clients) socket.terminate();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #read(text: string): void {
    const reading = readRequest(text);
    if (reading.tag !== 'request') throw new Error(`the device has sent ${text}`);
    const { request } = reading;
    if (request.type === 'ping') {
      if (this.answersPings) this.send({ type: 'pong' });
      return;
    }
    this.requests.push(request);
    if (request.type === 'state') this.send({ type: 'state', ref: request.ref, ...this.state });
  }
}
