import { createHmac } from 'node:crypto';
import { z } from 'zod';
import { listSetting, type Settings, type SettingsShape } from './settings.js';

/** Of a service whose clients are told STUN and TURN servers. */
export const iceServerSettings = {
  WEIR_STUN_URLS: listSetting([]).describe('STUN servers that clients are told, such as `stun:host:3478`.'),
  WEIR_TURN_URLS: listSetting([]).describe(
    'TURN servers that clients are told, such as `turn:host:3478?transport=tcp`. They need WEIR_TURN_SECRET.',
  ),
  WEIR_TURN_SECRET: z
    .string()
    .min(1)
    .optional()
    .describe('The secret shared with the TURN servers, by which clients get credentials that expire.'),
  WEIR_TURN_TTL_S: z.coerce
    .number()
    .int()
    .min(60)
    .default(24 * 60 * 60)
    .describe('How long the credentials for the TURN servers are valid, in seconds.'),
} as const satisfies SettingsShape;

/** As RTCPeerConnection takes them, unchanged. */
export interface IceServer {
  readonly urls: readonly string[];
  readonly username: string;
  readonly credential: string;
}

export interface TurnCredentials {
  /** `<unix time at which it expires>:<id>` */
  readonly username: string;
  readonly credential: string;
}

/**
 * Time-limited credentials for a TURN server that shares the secret (the "TURN REST" scheme, which coturn calls
 * `use-auth-secret`): the password is the base64 HMAC-SHA1 of the user name.
 *
 * @param id names the user in the server's log; no secret
 */
export const turnCredentials = (secret: string, id: string, expiresAtMs: number): TurnCredentials => {
  const username = `${Math.floor(expiresAtMs / 1000)}:${id}`;
  return { username, credential: createHmac('sha1', secret).update(username).digest('base64') };
};

/**
 * The servers that a client is told: only those that are configured, so perhaps none.
 *
 * @param id as for `turnCredentials`
 */
export const iceServers = (
  {
    WEIR_STUN_URLS: stunUrls,
    WEIR_TURN_URLS: turnUrls,
    WEIR_TURN_SECRET: secret,
    WEIR_TURN_TTL_S: ttlS,
  }: Settings<typeof iceServerSettings>,
  id: string,
  nowMs: number,
): readonly IceServer[] => [
  ...(stunUrls.length === 0 ? [] : [{ urls: stunUrls, username: '', credential: '' }]),
  ...(secret === undefined || turnUrls.length === 0
    ? []
    : [{ urls: turnUrls, ...turnCredentials(secret, id, nowMs + ttlS * 1_000) }]),
];
