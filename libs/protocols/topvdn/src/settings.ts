/** Lengths in UTF-16 code units. */
export const LENGTHS = {
  /** A token with every optional field. */
  token: 512,
  url: 1_024,
  frame: 128 * 1024,
  sdp: 64 * 1024,
  candidate: 4_096,
  callId: 64,
  messageId: 64,
  ref: 64,
} as const;

/** Of a message's content before base64. */
export const MAX_MESSAGE_BYTES = 256;

/**
 * The longest life of a token. The vendor bounds none, but its digest is HMAC-MD5, so no token should outlive its key's
 * use. A year, as the tokens of the vendor's samples have, and a day of grace.
 */
export const MAX_TOKEN_LIFETIME_S = 366 * 24 * 60 * 60;

/** The life of a token of `POST /v2/devices/tokens`. */
export const ISSUED_TOKEN = { defaultS: 300, maxS: 86_400 } as const;

export const PING_INTERVAL_MS = 30_000;
/** A device is offline after this silence. */
export const OFFLINE_AFTER_MS = 120_000;
/** A call goes on if a lost channel comes back within this time. */
export const RECONNECT_WITHIN_MS = 10_000;
/** Messages for devices that are away are kept so long. */
export const MESSAGE_KEPT_MS = 24 * 60 * 60 * 1_000;

/** Codes of the WebSocket close frame on the device channel. */
export const CLOSE = {
  shutdown: 1001,
  tooBig: 1009,
  /** Too many frames that aren't messages. */
  protocolError: 4400,
  /** The token was no longer valid: its app is gone, has a new key, or has the device no longer. */
  unauthorized: 4401,
  silent: 4408,
  /** The device has connected again; this is its old socket. */
  replaced: 4409,
  flood: 4429,
  slowReader: 4430,
} as const;
