import type { IncomingMessage } from 'node:http';
import { Inject } from '@nestjs/common';
import { WebSocketGateway, type OnGatewayConnection } from '@nestjs/websockets';
import type { RefusalLog } from '@weir/access';
import type { Address } from '@weir/protocol-wcs';
import { WebSocket } from 'ws';
import type { ClientSocket } from './session.js';
import { Sessions } from './sessions.js';

export const GATEWAY_OPTIONS = Symbol('options of the WCS gateway');

export interface GatewayOptions {
  readonly refusals: Pick<RefusalLog, 'say'>;
  readonly trustForwarded: boolean;
}

const plainAddress = (address: string | undefined): string => (address ?? '').replace(/^::ffff:/, '');

/** The first address is the client's, because the gateway replaces the header and passes no other header on. */
const forwardedAddress = (request: IncomingMessage): string | undefined => {
  const header = request.headers['x-forwarded-for'];
  const first = (Array.isArray(header) ? header[0] : header)?.split(',')[0]?.trim();
  return first && /^[0-9a-f:.]{2,45}$/i.test(first) ? first : undefined;
};

/** The client's address, as far as the service can know it. */
export const clientAddress = (request: IncomingMessage, trustForwarded: boolean): string =>
  (trustForwarded ? forwardedAddress(request) : undefined) ?? plainAddress(request.socket.remoteAddress);

/** Reads the sockets and writes to them. The sessions handle the messages. */
@WebSocketGateway()
export class WcsGateway implements OnGatewayConnection<WebSocket> {
  constructor(
    @Inject(Sessions) private readonly sessions: Sessions,
    @Inject(GATEWAY_OPTIONS) private readonly options: GatewayOptions,
  ) {}

  handleConnection(socket: WebSocket, request: IncomingMessage): void {
    const { socket: tcp, headers } = request;
    const address = clientAddress(request, this.options.trustForwarded);
    const remote: Address = { address, port: tcp.remotePort ?? 0 };
    const local: Address = { address: plainAddress(tcp.localAddress), port: tcp.localPort ?? 0 };
    const session = this.sessions.open(clientSocket(socket), { remote, local, origin: headers.origin });
    socket.on('message', (data, isBinary) => {
      if (isBinary) session.take({ tag: 'binary-frame', byteLength: lengthOf(data) });
      else session.frame(textOf(data));
    });
    // The socket layer has answered the ping, even if the client doesn't read.
    socket.on('ping', () => session.endSlowReader());
    // The socket layer itself has sent a close frame for a frame that is too big or broken.
    socket.on('error', (error) => {
      const { message: reason } = error;
      this.options.refusals.say('a client broke the WebSocket protocol', {
        ...{ session: session.key, address: remote.address, reason },
      });
      this.sessions.closed(session);
    });
    socket.on('close', () => this.sessions.closed(session));
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

const clientSocket = (socket: WebSocket): ClientSocket => ({
  send: (text) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(text);
  },
  // The adapter's time-out cuts off a client that doesn't answer the close frame.
  close: (code, reason) => socket.close(code, reason),
  get bufferedBytes() {
    return socket.bufferedAmount;
  },
});
