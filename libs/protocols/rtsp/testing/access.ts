import { Buffer } from 'node:buffer';
import { verifyCredentials } from '../src/authentication.js';
import type { HostAnswer, ServerEffect } from '../src/server-state.js';
import { signStreamUrl, type StreamVerb, verifyStreamUrl } from '../src/signed-url.js';

export type AuthoriseEffect = Extract<ServerEffect, { tag: 'authorise' }>;

export type AccessPolicy = (effect: AuthoriseEffect, nowMs: number) => HostAnswer;

const KEY = Buffer.alloc(32, 7);

export function signedUrl(origin: string, path: string, verb: StreamVerb, expiresAtS: number): string {
  return signStreamUrl({ origin, path, verb, expiresAtS, salt: 'salt', key: KEY });
}

export const signedUrlsOnly: AccessPolicy = (effect, nowMs) => {
  const verdict = verifyStreamUrl(effect.url, effect.verb, [KEY], nowMs);
  if (verdict.tag === 'valid') return { tag: 'accepted' };
  return { tag: 'refused', refusal: verdict.refusal === 'missing' ? 'unauthenticated' : 'forbidden' };
};

export const USERNAME = 'bot';
export const PASSWORD = 'p@ss word';

/** One account for publishing and playing, with Basic or Digest. */
export const accountsOnly: AccessPolicy = ({ credentials, method, requestUrl }) => {
  const secret = { tag: 'password', password: PASSWORD } as const;
  const account = { method, url: requestUrl, realm: 'weir', username: USERNAME, secret };
  const isGenuine = credentials !== undefined && verifyCredentials(credentials, account);
  return isGenuine ? { tag: 'accepted' } : { tag: 'refused', refusal: 'unauthenticated' };
};
