import { createHash } from 'node:crypto';

/** The form of a pass: 192 bits of a token's hash, too many to guess. */
export const PASS_PATTERN = /^weirp_[A-Za-z0-9_-]{32}$/;

/**
 * The pass of a token, used where the token itself is too long. Example: ffmpeg takes at most 127 characters of user
 * name and password in an `rtsp://` URL. A pass is computed from the token alone, so whoever has the token can make it.
 */
export const passOf = (token: string): string =>
  `weirp_${createHash('sha256').update(token).digest('base64url').slice(0, 32)}`;

/** The hash under which a pass is stored. */
export const passDigest = (pass: string): string => createHash('sha256').update(pass).digest('base64url');
