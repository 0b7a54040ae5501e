import type { IncomingMessage } from 'node:http';
import type { RecordingAccess, RefusalLog } from '@weir/access';
import { ErrorCode, isWeirError, WeirError } from '@weir/contracts';
import type { Logger } from '@weir/platform';
import {
  SocketServer,
  type AdmittedSocket,
  type SocketListener,
  type SocketRefusal,
  type SocketServerOptions,
} from '@weir/platform/sockets';
import type { Generation } from '@weir/protocol-eyeson';
import { restErrorBody, restErrorOf } from '@weir/rest';
import type { SessionSocket, SocketHolder } from './session-socket.js';
import type { SessionSockets } from './session-sockets.js';

export const CLIENT_PATH = '/api/v2/io';
export const SUPERVISOR_PATH = '/api/v2/supervisor_io';
export const FIRST_GENERATION_PATH = '/api/session/io';

export interface RtmServerOptions extends Pick<SocketServerOptions, 'maxPayloadBytes' | 'unfinishedFrames'> {
  readonly access: Pick<RecordingAccess, 'authenticate'>;
  readonly sockets: Pick<SessionSockets, 'open' | 'hasRoom'>;
  readonly refusals: Pick<RefusalLog, 'say'>;
  readonly log: Logger;
}

/** The first generation's SDK sends `auth_token`. */
const TOKEN_NAMES = ['auth_token', 'token'];

interface Place {
  readonly role: SocketHolder['tag'];
  readonly generation: Generation;
}

const placeOf = (path: string): Place | undefined => {
  if (path === CLIENT_PATH) return { role: 'client', generation: 'second' };
  if (path === FIRST_GENERATION_PATH) return { role: 'client', generation: 'first' };
  return path.startsWith(`${SUPERVISOR_PATH}/`) ? { role: 'supervisor', generation: 'second' } : undefined;
};

const tokenOf = ({ headers }: IncomingMessage, query: URLSearchParams): string | undefined =>
  /^Bearer +(\S+) *$/i.exec(headers.authorization ?? '')?.[1] ??
  TOKEN_NAMES.map((name) => query.get(name)).find((value) => value !== null && value !== '') ??
  undefined;

/** Accepts the WebSockets of sessions from holders of a token of the right kind. */
export const rtmServer = (options: RtmServerOptions): SocketServer =>
  new SocketServer({
    ...options,
    admit: (request) => admit(request, options),
    hasRoom: () => options.sockets.hasRoom,
    refuse: (error, request) => refuse(error, request, options),
  });

const admit = async (
  request: IncomingMessage,
  { access, sockets, refusals }: RtmServerOptions,
): Promise<AdmittedSocket> => {
  const [path = '', query = ''] = (request.url ?? '').split('?', 2);
  const place = placeOf(path.replace(/\/$/, ''));
  if (place === undefined) throw new WeirError(ErrorCode.NOT_FOUND, 'There is nothing at this path');
  const token = tokenOf(request, new URLSearchParams(query));
  if (token === undefined)
    throw new WeirError(ErrorCode.UNAUTHENTICATED, 'A token is needed: append ?auth_token=<token>');
  const holder = await access.authenticate(token);
  if (holder.tag === 'stats' || holder.tag !== place.role)
    throw new WeirError(ErrorCode.FORBIDDEN, `The token is for a ${holder.tag}; here a ${place.role} connects`);
  return {
    limitedWith: `${holder.tenant}/${holder.clientId}`,
    open: (socket) => listener(sockets.open(socket, holder, place.generation), refusals),
  };
};

const refuse = (error: unknown, request: IncomingMessage, { refusals, log }: RtmServerOptions): SocketRefusal => {
  const answer = restErrorOf(error);
  const { status, message: reason } = answer;
  // The query is left out because it may hold a token.
  const path = request.url?.split('?', 1)[0];
  if (!isWeirError(error) || status >= 500) log.warn({ err: error, path }, 'a socket could not be admitted');
  else refusals.say('socket refused', { path, status, reason });
  return { status, body: JSON.stringify(restErrorBody(answer)) };
};

const listener = (session: SessionSocket, refusals: RtmServerOptions['refusals']): SocketListener => ({
  frame: (text) => session.frame(text),
  binaryFrame: (byteLength) => session.take({ tag: 'binary-frame', byteLength }),
  heard: () => session.heard(),
  broken: (reason) => {
    refusals.say('a client broke the WebSocket protocol', { reason });
    session.take({ tag: 'terminate', cause: 'CONN_ERROR' });
  },
  closed: () => session.take({ tag: 'socket-closed' }),
});
