import { Buffer } from 'node:buffer';
import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { awaitsSignature, signStreamUrl, verifyStreamPassword, verifyStreamUrl } from './signed-url.js';
import { parseRtspUrl, type RtspUrl } from './url.js';

const KEY = Buffer.alloc(32, 1);
const OTHER_KEY = Buffer.alloc(32, 2);
const EXPIRES_S = 2_000_000_000;
const BEFORE_MS = EXPIRES_S * 1000 - 1;
const UNSIGNED = {
  origin: 'rtsp://weir.example:8554',
  path: 'lab/front cam',
  verb: 'publish',
  expiresAtS: EXPIRES_S,
  salt: 'a-b_1',
  key: KEY,
} as const;

function parsed(text: string): RtspUrl {
  const url = parseRtspUrl(text);
  if (!url) throw new Error(text);
  return url;
}

function verdictOf(text: string, verb: 'publish' | 'play' = 'publish', nowMs = BEFORE_MS): string {
  const verdict = verifyStreamUrl(parsed(text), verb, [KEY], nowMs);
  return verdict.tag === 'valid' ? verdict.path : verdict.refusal;
}

describe('a signed URL', () => {
  const url = signStreamUrl(UNSIGNED);

  it('is what PROTOCOL.md says', () => {
    const text = `weir-rtsp-1\npublish\nlab/front cam\n${EXPIRES_S}\na-b_1`;
    const signature = createHmac('sha256', KEY).update(text).digest('base64url');
    expect(url).toBe(
      `rtsp://weir.example:8554/lab/front%20cam?expires=${EXPIRES_S}&verb=publish&salt=a-b_1&signature=${signature}`,
    );
  });

  it('is good for its verb and path until it expires', () => {
    expect(verdictOf(url)).toBe('lab/front cam');
    expect(verdictOf(url, 'play')).toBe('wrong-verb');
    expect(verdictOf(url, 'publish', EXPIRES_S * 1000)).toBe('expired');
    expect(verdictOf(url.replace('front', 'back'))).toBe('bad-signature');
    expect(verdictOf(url.replace('lab/', ''))).toBe('bad-signature');
  });

  it.each([
    ['expires', '2000000001', 'bad-signature'],
    ['expires', '02000000000', 'bad-signature'],
    ['expires', '', 'missing'],
    ['verb', 'play', 'bad-signature'],
    ['salt', 'other', 'bad-signature'],
    ['signature', 'AAAA', 'bad-signature'],
    ['signature', '', 'missing'],
  ])('with another %s (%s) is refused: %s', (name, value, refusal) => {
    expect(verdictOf(url.replace(new RegExp(`${name}=[^&]*`), `${name}=${value}`))).toBe(refusal);
  });

  it.each(['expires', 'verb', 'salt', 'signature'])('without %s, or with two, is refused', (name) => {
    expect(verdictOf(url.replace(new RegExp(`${name}=[^&]*&?`), ''))).toBe('missing');
    expect(verdictOf(`${url}&${name}=x`)).toBe('missing');
  });

  it('may have its parameters in any order, a closing slash and further parameters', () => {
    const [base = '', query = ''] = url.split('?');
    expect(verdictOf(`${base}/?${query.split('&').reverse().join('&')}&x=1`)).toBe('lab/front cam');
  });

  it('is good with any key that is still valid', () => {
    const verdict = (keys: readonly Buffer[]): string => verifyStreamUrl(parsed(url), 'publish', keys, BEFORE_MS).tag;
    expect(verdict([OTHER_KEY, KEY])).toBe('valid');
    expect(verdict([OTHER_KEY])).toBe('refused');
    expect(verdict([])).toBe('refused');
  });

  it('may have its signature as a password instead, and the client proves that it knows it', () => {
    const signature = new URL(url).searchParams.get('signature') ?? '';
    const rest = url.replace(/&signature=.*/, '');
    expect([awaitsSignature(parsed(url)), awaitsSignature(parsed(rest))]).toEqual([false, true]);
    expect(awaitsSignature(parsed(rest.replace(/&salt=.*/, '')))).toBe(false);
    const verdict = (text: string, verb: 'publish' | 'play', nowMs: number, shown = signature): string => {
      const given = verifyStreamPassword(parsed(text), verb, [OTHER_KEY, KEY], nowMs, (password) => password === shown);
      return given.tag === 'valid' ? given.path : given.refusal;
    };
    expect(verdict(rest, 'publish', BEFORE_MS)).toBe('lab/front cam');
    expect(verdict(rest, 'publish', BEFORE_MS, 'guessed')).toBe('bad-signature');
    expect(verdict(rest.replace('front', 'back'), 'publish', BEFORE_MS)).toBe('bad-signature');
    expect(verdict(rest, 'play', BEFORE_MS)).toBe('wrong-verb');
    expect(verdict(rest, 'publish', EXPIRES_S * 1000)).toBe('expired');
    expect(verdict(url, 'publish', BEFORE_MS)).toBe('missing');
  });

  it('does not say for what other reasons a forged one would be refused', () => {
    const forged = url.replace(/signature=.*/, 'signature=AAAA');
    expect(verdictOf(forged, 'play', EXPIRES_S * 2000)).toBe('bad-signature');
  });

  it.each([
    { key: Buffer.alloc(31) },
    { salt: 'a b' },
    { salt: '' },
    { expiresAtS: 1.5 },
    { expiresAtS: -1 },
    { origin: 'http://h' },
    { path: '/lab' },
    { path: 'lab/../x' },
    { path: 'lab/\n' },
  ])('is not made of %o', (part) => {
    expect(() => signStreamUrl({ ...UNSIGNED, ...part })).toThrow(RangeError);
  });
});
