import type { IncomingMessage } from 'node:http';
import type { RefusalLog } from '@weir/access';
import { isWeirError } from '@weir/contracts';
import type { Logger } from '@weir/platform';
import { SocketServer, type ClientSocket, type SocketListener, type SocketServerOptions } from '@weir/platform/sockets';
import type { Address } from '@weir/protocol-wcs';
import { httpStatusOf } from '@weir/rest';
import type { Sessions } from './sessions.js';

export interface SessionListenerPorts {
  readonly sessions: Pick<Sessions, 'open' | 'closed'>;
  readonly refusals: Pick<RefusalLog, 'say'>;
  readonly trustForwarded: boolean;
}

export interface WcsServerOptions
  extends SessionListenerPorts, Pick<SocketServerOptions, 'maxPayloadBytes' | 'unfinishedFrames'> {
  readonly sessions: Pick<Sessions, 'open' | 'closed' | 'hasRoom'>;
  readonly log: Logger;
}

/** Accepts WebSockets on any path. */
export const wcsServer = (options: WcsServerOptions): SocketServer =>
  new SocketServer({
    ...options,
    admit: (request) => ({
      limitedWith: clientAddress(request, options.trustForwarded),
      open: (socket) => sessionListener(socket, request, options),
    }),
    hasRoom: () => options.sessions.hasRoom,
    refuse: (error) => ({ status: isWeirError(error) ? httpStatusOf(error) : 500, body: '' }),
  });

const plainAddress = (address: string | undefined): string => (address ?? '').replace(/^::ffff:/, '');

/** The first address is the client's, because the gateway replaces the header and passes no other header on. */
const forwardedAddress = (request: Pick<IncomingMessage, 'headers'>): string | undefined => {
  const header = request.headers['x-forwarded-for'];
  const first = (Array.isArray(header) ? header[0] : header)?.split(',')[0]?.trim();
  return first && /^[0-9a-f:.]{2,45}$/i.test(first) ? first : undefined;
};

/** The client's address, as far as the service can know it. */
const clientAddress = (request: Pick<IncomingMessage, 'socket' | 'headers'>, trustForwarded: boolean): string =>
  (trustForwarded ? forwardedAddress(request) : undefined) ?? plainAddress(request.socket.remoteAddress);

/** Opens a session, and passes to it what the client sends. */
export const sessionListener = (
  client: ClientSocket,
  { socket: tcp, headers }: Pick<IncomingMessage, 'socket' | 'headers'>,
  { sessions, refusals, trustForwarded }: SessionListenerPorts,
): SocketListener => {
  const address = clientAddress({ socket: tcp, headers }, trustForwarded);
  const remote: Address = { address, port: tcp.remotePort ?? 0 };
  const local: Address = { address: plainAddress(tcp.localAddress), port: tcp.localPort ?? 0 };
  const session = sessions.open(client, { remote, local, origin: headers.origin });
  return {
    frame: (text) => session.frame(text),
    binaryFrame: (byteLength) => session.take({ tag: 'binary-frame', byteLength }),
    // A pong was sent, even if the client doesn't read.
    heard: () => session.endSlowReader(),
    broken: (reason) => {
      refusals.say('a client broke the WebSocket protocol', { session: session.key, address, reason });
      sessions.closed(session);
    },
    closed: () => sessions.closed(session),
  };
};
