import { Buffer } from 'node:buffer';
import { hashHex, sameSecret } from './digest.js';
import { parseRtspUrl } from './url.js';

export type DigestAlgorithm = 'MD5' | 'SHA-256' | 'MD5-sess' | 'SHA-256-sess';

/** What a server demands in one WWW-Authenticate challenge. */
export type Challenge =
  | { readonly scheme: 'basic'; readonly realm: string }
  | {
      readonly scheme: 'digest';
      readonly realm: string;
      readonly nonce: string;
      readonly algorithm: DigestAlgorithm;
      /** False for servers (and cameras) that leave the parameter out because they know no algorithm but MD5. */
      readonly algorithmNamed: boolean;
      /** If undefined, RFC 2069's form without client nonce is used. */
      readonly qop: 'auth' | undefined;
      readonly opaque: string | undefined;
      readonly stale: boolean;
    };

export type DigestChallenge = Extract<Challenge, { scheme: 'digest' }>;

/** What a client sends in Authorization. Never log all of it. */
export type Credentials =
  | { readonly scheme: 'basic'; readonly username: string; readonly password: string }
  | {
      readonly scheme: 'digest';
      readonly username: string;
      readonly realm: string;
      readonly nonce: string;
      readonly uri: string;
      readonly response: string;
      readonly algorithm: DigestAlgorithm;
      readonly qop: 'auth' | undefined;
      readonly nonceCount: string;
      readonly cnonce: string;
    };

export type DigestCredentials = Extract<Credentials, { scheme: 'digest' }>;

interface SchemeParameters {
  readonly scheme: string;
  readonly parameters: ReadonlyMap<string, string>;
}

/** Returns the challenges of all WWW-Authenticate lines that can be answered, in order. */
export function parseChallenges(headers: readonly string[]): Challenge[] {
  return headers.flatMap(parseSchemes).flatMap(({ scheme, parameters }): Challenge[] => {
    const realm = parameters.get('realm') ?? '';
    if (scheme === 'basic') return [{ scheme, realm }];
    const nonce = parameters.get('nonce');
    const algorithm = parseAlgorithm(parameters.get('algorithm'));
    const qops = parameters
      .get('qop')
      ?.toLowerCase()
      .split(/[\s,]+/)
      .filter(Boolean);
    const answerable = qops === undefined || qops.length === 0 || qops.includes('auth');
    if (scheme !== 'digest' || nonce === undefined || algorithm === undefined || !answerable) return [];
    return [
      {
        scheme,
        realm,
        nonce,
        algorithm,
        algorithmNamed: parameters.has('algorithm'),
        qop: qops?.includes('auth') ? 'auth' : undefined,
        opaque: parameters.get('opaque'),
        stale: parameters.get('stale')?.toLowerCase() === 'true',
      },
    ];
  });
}

export function formatChallenge(challenge: Challenge): string {
  if (challenge.scheme === 'basic') return `Basic realm=${quoted(challenge.realm)}`;
  const parts = [`realm=${quoted(challenge.realm)}`, `nonce=${quoted(challenge.nonce)}`];
  if (challenge.algorithmNamed) parts.push(`algorithm=${challenge.algorithm}`);
  if (challenge.qop) parts.push(`qop=${quoted(challenge.qop)}`);
  if (challenge.opaque !== undefined) parts.push(`opaque=${quoted(challenge.opaque)}`);
  if (challenge.stale) parts.push('stale=true');
  return `Digest ${parts.join(', ')}`;
}

/** Undefined if weir doesn't know the scheme or if parameters are missing. */
export function parseAuthorization(header: string): Credentials | undefined {
  const basic = /^Basic +([A-Za-z0-9+/=_-]+)\s*$/i.exec(header);
  if (basic) {
    const text = Buffer.from(basic[1] ?? '', 'base64').toString('utf8');
    const colon = text.indexOf(':');
    if (colon === -1) return undefined;
    return { scheme: 'basic', username: text.slice(0, colon), password: text.slice(colon + 1) };
  }
  const [first] = parseSchemes(header);
  if (first?.scheme !== 'digest') return undefined;
  const value = (name: string): string | undefined => first.parameters.get(name);
  const algorithm = parseAlgorithm(value('algorithm'));
  const qop = value('qop')?.toLowerCase();
  const [username, realm, nonce, uri, response] = [
    value('username'),
    value('realm'),
    value('nonce'),
    value('uri'),
    value('response'),
  ];
  if (username === undefined || realm === undefined || nonce === undefined || uri === undefined) return undefined;
  if (response === undefined || algorithm === undefined || (qop !== undefined && qop !== 'auth')) return undefined;
  const [nonceCount, cnonce] = [value('nc') ?? '', value('cnonce') ?? ''];
  return { scheme: 'digest', username, realm, nonce, uri, response, algorithm, qop, nonceCount, cnonce };
}

/** How the verifier stores the account: its password, or H(user:realm:password) for one algorithm. */
export type AccountSecret =
  | { readonly tag: 'password'; readonly password: string }
  | { readonly tag: 'digest'; readonly hash: 'md5' | 'sha256'; readonly ha1: string };

export interface Verification {
  readonly method: string;
  /** URL of the request that carried the credentials. */
  readonly url: string;
  readonly realm: string;
  readonly username: string;
  readonly secret: AccountSecret;
}

/**
 * For servers. The machine that issued the nonce must have checked it before. Basic needs an account with a password.
 */
export function verifyCredentials(credentials: Credentials, account: Verification): boolean {
  if (credentials.username !== account.username) return false;
  if (credentials.scheme === 'basic') {
    return account.secret.tag === 'password' && sameText(credentials.password, account.secret.password);
  }
  if (credentials.realm !== account.realm || !sameResource(credentials.uri, account.url)) return false;
  const hash = hashOf(credentials.algorithm);
  if (account.secret.tag === 'digest' && account.secret.hash !== hash) return false;
  const ha1 =
    account.secret.tag === 'digest'
      ? account.secret.ha1
      : hashHex(hash, `${account.username}:${account.realm}:${account.secret.password}`);
  return sameText(credentials.response.toLowerCase(), digestResponse({ ...credentials, method: account.method, ha1 }));
}

/** Compares hashes, so that the time taken reveals neither the length nor the place of a difference. */
function sameText(one: string, other: string): boolean {
  return sameSecret(Buffer.from(hashHex('sha256', one)), Buffer.from(hashHex('sha256', other)));
}

/** Clients write the digest's uri with or without authority, and with or without the trailing slash. */
function sameResource(digestUri: string, requestUrl: string): boolean {
  return digestUri === requestUrl || resourceOf(digestUri) === resourceOf(requestUrl);
}

function resourceOf(text: string): string {
  const url = parseRtspUrl(text);
  const resource = url ? (url.query === '' ? url.path : `${url.path}?${url.query}`) : text;
  return resource.endsWith('/') ? resource.slice(0, -1) : resource;
}

export interface ChallengeAnswer {
  readonly method: string;
  /** The URL exactly as it is in the request line. */
  readonly uri: string;
  readonly username: string;
  readonly password: string;
  /** Random, at least 64 bits in hexadecimal. */
  readonly cnonce: string;
  /** How many times this nonce has been answered, from 1. */
  readonly nonceCount: number;
}

/** For clients: the strongest challenge that can be answered. */
export function strongestChallenge(challenges: readonly Challenge[]): Challenge | undefined {
  return [...challenges].sort((one, other) => strengthOf(other) - strengthOf(one))[0];
}

function strengthOf(challenge: Challenge): number {
  if (challenge.scheme === 'basic') return 0;
  return hashOf(challenge.algorithm) === 'sha256' ? 2 : 1;
}

/** Returns the value of Authorization. */
export function answerChallenge(challenge: Challenge, answer: ChallengeAnswer): string {
  const { username, password, uri, method, cnonce } = answer;
  if (challenge.scheme === 'basic') return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
  const { realm, nonce, algorithm, algorithmNamed, qop, opaque } = challenge;
  const nonceCount = answer.nonceCount.toString(16).padStart(8, '0');
  const ha1 = hashHex(hashOf(algorithm), `${username}:${realm}:${password}`);
  const response = digestResponse({ algorithm, nonce, uri, qop, nonceCount, cnonce, method, ha1 });
  const parts = [
    `username=${quoted(username)}`,
    `realm=${quoted(realm)}`,
    `nonce=${quoted(nonce)}`,
    `uri=${quoted(uri)}`,
    `response=${quoted(response)}`,
  ];
  if (algorithmNamed) parts.push(`algorithm=${algorithm}`);
  if (qop) parts.push(`qop=${qop}`, `nc=${nonceCount}`);
  if (qop || algorithm.endsWith('-sess')) parts.push(`cnonce=${quoted(cnonce)}`);
  if (opaque !== undefined) parts.push(`opaque=${quoted(opaque)}`);
  return `Digest ${parts.join(', ')}`;
}

type DigestParts = Pick<DigestCredentials, 'algorithm' | 'nonce' | 'uri' | 'qop' | 'nonceCount' | 'cnonce'> & {
  readonly method: string;
  readonly ha1: string;
};

/** RFC 7616, 3.4.1; without qop, the form of RFC 2069. */
function digestResponse(parts: DigestParts): string {
  const hash = hashOf(parts.algorithm);
  const ha1 = parts.algorithm.endsWith('-sess')
    ? hashHex(hash, `${parts.ha1}:${parts.nonce}:${parts.cnonce}`)
    : parts.ha1;
  const ha2 = hashHex(hash, `${parts.method}:${parts.uri}`);
  const middle = parts.qop ? `${parts.nonce}:${parts.nonceCount}:${parts.cnonce}:${parts.qop}` : parts.nonce;
  return hashHex(hash, `${ha1}:${middle}:${ha2}`);
}

function hashOf(algorithm: DigestAlgorithm): 'md5' | 'sha256' {
  return algorithm.startsWith('MD5') ? 'md5' : 'sha256';
}

function parseAlgorithm(text: string | undefined): DigestAlgorithm | undefined {
  switch ((text ?? 'MD5').toUpperCase()) {
    case 'MD5':
      return 'MD5';
    case 'SHA-256':
      return 'SHA-256';
    case 'MD5-SESS':
      return 'MD5-sess';
    case 'SHA-256-SESS':
      return 'SHA-256-sess';
    default:
      return undefined;
  }
}

function quoted(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&')}"`;
}

/** `scheme name=value, name="value", scheme …`: commas separate parameters as well as challenges. */
function parseSchemes(header: string): SchemeParameters[] {
  const schemes: { scheme: string; parameters: Map<string, string> }[] = [];
  const token = /[\s,]*([A-Za-z0-9_-]+)(\s*=\s*)?(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))/y;
  for (;;) {
    const match = token.exec(header);
    if (!match) return schemes;
    const [, name = '', equals, inQuotes, bare] = match;
    if (equals === undefined) {
      if (inQuotes !== undefined || bare !== '') return schemes;
      schemes.push({ scheme: name.toLowerCase(), parameters: new Map() });
      continue;
    }
    const parameters = schemes.at(-1)?.parameters;
    if (!parameters) return schemes;
    parameters.set(name.toLowerCase(), inQuotes?.replace(/\\(.)/g, '$1') ?? bare ?? '');
  }
}
