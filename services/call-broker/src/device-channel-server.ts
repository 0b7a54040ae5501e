import type { IncomingMessage } from 'node:http';
import type { RefusalLog } from '@weir/access';
import { ErrorCode, isWeirError, WeirError } from '@weir/contracts';
import type { Logger } from '@weir/platform';
import { asWeirError } from '@weir/platform/database';
import {
  SocketServer,
  type AdmittedSocket,
  type SocketRefusal,
  type SocketServerOptions,
} from '@weir/platform/sockets';
import { LENGTHS } from '@weir/protocol-topvdn';
import { restErrorOf } from '@weir/rest';
import type { DeviceChannels } from './device-channels.js';
import { originOf } from './device-origin.js';
import type { DeviceTokens } from './device-tokens.js';
import { requestIdOf } from './request-id.js';

export const CHANNEL_PATH = '/v2/device/channel';

/** Encoded in UTF-8, a frame of the protocol's limit may have up to three times as many bytes. */
const MAX_PAYLOAD_BYTES = 3 * LENGTHS.frame;
const UNFINISHED_FRAMES = { timeoutMs: 15_000, perAddressBytes: 8 * 1024 * 1024, totalBytes: 64 * 1024 * 1024 };

export interface DeviceChannelServerOptions extends Pick<SocketServerOptions, 'hasRoom'> {
  readonly channels: Pick<DeviceChannels, 'open'>;
  readonly tokens: Pick<DeviceTokens, 'authenticate'>;
  readonly refusals: Pick<RefusalLog, 'say'>;
  readonly log: Logger;
}

/** Accepts the WebSockets of devices with a valid token. */
export const deviceChannelServer = (options: DeviceChannelServerOptions): SocketServer =>
  new SocketServer({
    ...options,
    maxPayloadBytes: MAX_PAYLOAD_BYTES,
    unfinishedFrames: UNFINISHED_FRAMES,
    admit: (request) => admit(request, options),
    refuse: (error, request) => refuse(error, request, options),
  });

const admit = async (
  request: IncomingMessage,
  { tokens, channels }: DeviceChannelServerOptions,
): Promise<AdmittedSocket> => {
  const [path = '', query = ''] = (request.url ?? '').split('?', 2);
  if (path.replace(/\/$/, '') !== CHANNEL_PATH)
    throw new WeirError(ErrorCode.NOT_FOUND, `There is nothing at this path; devices connect to ${CHANNEL_PATH}`);
  const token = new URLSearchParams(query).get('client_token') ?? request.headers['x-client-token'];
  if (typeof token !== 'string' || token === '')
    throw new WeirError(ErrorCode.UNAUTHENTICATED, "The device's token is needed: append ?client_token=<token>");
  const from = originOf(request);
  const { cid, app } = await tokens.authenticate(token, from.address);
  const device = { cid, appId: app.id, appKey: app.key, tenant: app.tenant, ...from };
  return { limitedWith: String(cid), open: (socket) => channels.open(device, socket) };
};

const refuse = (
  thrown: unknown,
  request: IncomingMessage,
  { refusals, log }: DeviceChannelServerOptions,
): SocketRefusal => {
  const error = asWeirError(thrown);
  const { status, message } = restErrorOf(error);
  // The query is left out because it may hold a token.
  const path = request.url?.split('?', 1)[0];
  if (!isWeirError(error) || status >= 500) log.warn({ err: error, path }, 'a device could not be admitted');
  else refusals.say('device refused', { path, status, reason: message }, request.headers);
  return { status, body: JSON.stringify({ message, request_id: requestIdOf({ raw: request }) }) };
};
