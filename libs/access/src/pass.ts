import { createHash } from 'node:crypto';

/** What a pass looks like: 192 bits of a token's hash, which nobody guesses. */
export const PASS_PATTERN = /^weirp_[A-Za-z0-9_-]{32}$/;

/**
 * The pass of a token: what stands for it where a token is too long, such as the password of an `rtsp://` URL, of which
 * ffmpeg takes 127 characters with the user's name. It follows from the token alone, so that whoever has that has it.
 */
export const passOf = (token: string): string =>
  `weirp_${createHash('sha256').update(token).digest('base64url').slice(0, 32)}`;

/** What is stored of a pass. */
export const passDigest = (pass: string): string => createHash('sha256').update(pass).digest('base64url');
