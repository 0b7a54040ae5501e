import type { IncomingMessage } from 'node:http';
import { credentialOf, type Access, type Principal, type RefusalLog } from '@weir/access';
import { ErrorCode, isWeirError, WeirError } from '@weir/contracts';
import type { Logger } from '@weir/platform';
import {
  SocketServer,
  type AdmittedSocket,
  type ClientSocket,
  type SocketListener,
  type SocketRefusal,
  type SocketServerOptions,
} from '@weir/platform/sockets';
import { encodeRefusal, errOf, type Err } from '@weir/protocol-turing';
import { httpStatusOf } from '@weir/rest';
import { errOfFailure } from './media-errs.js';
import type { RobotMetrics } from './metrics.js';

/** Handles the sockets of one path. */
export interface Channel {
  /** Throws WeirError if the principal isn't admitted. */
  admit(principal: Principal): Promise<(socket: ClientSocket) => SocketListener>;
}

export interface ChannelServerOptions extends Pick<
  SocketServerOptions,
  'maxPayloadBytes' | 'unfinishedFrames' | 'hasRoom'
> {
  readonly channels: ReadonlyMap<string, Channel>;
  readonly access: Pick<Access, 'authenticate'>;
  readonly metrics: Pick<RobotMetrics, 'refused'>;
  readonly log: Logger;
  readonly refusals: Pick<RefusalLog, 'say'>;
}

/** Accepts WebSockets on the paths of its channels from clients with a valid token or key. */
export const channelServer = (options: ChannelServerOptions): SocketServer =>
  new SocketServer({
    ...options,
    admit: (request) => admit(request, options),
    refuse: (error, request) => refuse(error, request, options),
  });

/** There is no channel at the path. */
class NoChannel extends Error {}

const pathOf = ({ url = '' }: IncomingMessage): string => url.split('?', 1)[0] ?? '';

const admit = async (request: IncomingMessage, { channels, access }: ChannelServerOptions): Promise<AdmittedSocket> => {
  const channel = channels.get(pathOf(request).replace(/\/$/, ''));
  if (channel === undefined) throw new NoChannel();
  const credential = credentialOf(request);
  if (credential === undefined)
    throw new WeirError(
      ErrorCode.UNAUTHENTICATED,
      'A token or key is needed: send Authorization: Bearer <token or key>',
    );
  const principal = await access.authenticate(credential);
  return { limitedWith: `${principal.tenant}/${principal.subject}`, open: await channel.admit(principal) };
};

const refusalOf = (error: unknown): { readonly status: number; readonly err: Err } => {
  if (error instanceof NoChannel) return { status: 404, err: errOf('unknown-act') };
  if (!isWeirError(error)) return { status: 500, err: errOf('internal') };
  const status = httpStatusOf(error);
  return { status, err: status === 403 || status === 404 ? errOf('not-permitted') : errOfFailure(error) };
};

const refuse = (
  error: unknown,
  request: IncomingMessage,
  { metrics, refusals, log }: ChannelServerOptions,
): SocketRefusal => {
  const { status, err } = refusalOf(error);
  // The query is left out because it may hold a token.
  const path = pathOf(request);
  if (status >= 500) log.warn({ err: error, path }, 'a socket could not be admitted');
  metrics.refused('handshake', err.dm);
  const address = request.headers['x-forwarded-for'] ?? request.socket.remoteAddress;
  refusals.say('channel refused', { path, address, status, reason: err.dm }, request.headers);
  return { status, body: encodeRefusal(err) };
};
