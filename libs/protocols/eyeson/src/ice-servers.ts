// Hashing is a pure function of its inputs, without I/O and state, so it is allowed in pure code.
// eslint-disable-next-line no-restricted-imports
import { createHmac } from 'node:crypto';

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

export interface IceServerSettings {
  /** `stun:` URLs. */
  readonly stunUrls: readonly string[];
  /** Undefined if there is no TURN server. */
  readonly turn: { readonly urls: readonly string[]; readonly secret: string } | undefined;
}

/** The list holds only servers that exist: it is empty if none is configured. */
export const iceServers = (
  { stunUrls, turn }: IceServerSettings,
  id: string,
  expiresAtMs: number,
): readonly IceServer[] => [
  ...(stunUrls.length === 0 ? [] : [{ urls: stunUrls, username: '', credential: '' }]),
  ...(turn === undefined || turn.urls.length === 0
    ? []
    : [{ urls: turn.urls, ...turnCredentials(turn.secret, id, expiresAtMs) }]),
];
