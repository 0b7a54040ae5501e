// Hashing is a pure function of its inputs, without I/O and state, so it is allowed in pure code.
// eslint-disable-next-line no-restricted-imports
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { Buffer } from 'node:buffer';

export function hashHex(algorithm: 'md5' | 'sha256', text: string): string {
  return createHash(algorithm).update(text, 'utf8').digest('hex');
}

export function hmacSha256(key: Uint8Array, text: string): Buffer {
  return createHmac('sha256', key).update(text, 'utf8').digest();
}

/** Takes the same time wherever two secrets of equal length differ. */
export function sameSecret(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && timingSafeEqual(one, other);
}
