import { Buffer } from 'node:buffer';
import { hmacSha256, sameSecret } from './digest.js';
import { formatRtspUrl, parseRtspUrl, type RtspUrl, streamPathOf } from './url.js';

export type StreamVerb = 'publish' | 'play';

export interface UrlToSign {
  /** `rtsp://host:port`, without path. */
  readonly origin: string;
  /** `<tenant>/<stream path>`, not percent-encoded. */
  readonly path: string;
  readonly verb: StreamVerb;
  /** Seconds since 1970: the moment from which the URL is no longer valid. */
  readonly expiresAtS: number;
  /** Random letters, digits, `-` and `_`, so that two URLs made at the same moment differ. */
  readonly salt: string;
  /** At least 32 random bytes. */
  readonly key: Uint8Array;
}

export type SignatureRefusal = 'missing' | 'bad-signature' | 'wrong-verb' | 'expired';

export type SignatureVerdict =
  | { readonly tag: 'valid'; readonly path: string; readonly expiresAtS: number }
  | { readonly tag: 'refused'; readonly refusal: SignatureRefusal };

/**
 * Returns the URL that a robot pushes to or a player plays. Whoever has it may do that one thing with that one path
 * until it expires.
 * @throws RangeError if the key, salt, expiry or origin would make a URL that can't be verified
 */
export function signStreamUrl(url: UrlToSign): string {
  if (url.key.length < 32) throw new RangeError('a signing key has at least 32 bytes');
  if (!/^[\w-]{1,64}$/.test(url.salt)) throw new RangeError('a salt is 1 to 64 letters, digits, - or _');
  if (!Number.isSafeInteger(url.expiresAtS) || url.expiresAtS < 0) throw new RangeError('expiry in whole seconds');
  const origin = parseRtspUrl(url.origin);
  const path = `/${url.path.split('/').map(encodeURIComponent).join('/')}`;
  const whole = origin && { ...origin, path, user: undefined };
  if (!whole || streamPathOf(whole) !== url.path) throw new RangeError("origin or path can't be written as a URL");
  const { key, verb, salt } = url;
  const grant: Grant = { verb, path: url.path, expires: String(url.expiresAtS), salt };
  const signature = signatureOf(key, grant).toString('base64url');
  const query = `expires=${url.expiresAtS}&verb=${url.verb}&salt=${url.salt}&signature=${signature}`;
  return formatRtspUrl({ ...whole, query });
}

/**
 * @param url as the client sent it
 * @param verb what the client asks for
 * @param keys all keys that are still valid, so that keys can change while URLs stay usable
 */
export function verifyStreamUrl(
  url: RtspUrl,
  verb: StreamVerb,
  keys: readonly Uint8Array[],
  nowMs: number,
): SignatureVerdict {
  const { grant, signature } = readGrant(url);
  if (grant === undefined || !signature) return refused('missing');
  const given = Buffer.from(signature, 'base64url');
  const isGenuine = keys.some((key) => sameSecret(given, signatureOf(key, grant)));
  return isGenuine ? verdictOf(grant, verb, nowMs) : refused('bad-signature');
}

/**
 * Whether this is a signed URL without its signature. The client must then prove that it knows the signature as a
 * password.
 */
export function awaitsSignature(url: RtspUrl): boolean {
  const { grant, signature } = readGrant(url);
  return grant !== undefined && signature === undefined;
}

/**
 * For clients that require a user and a password: the signature is taken out of the URL and becomes the password of any
 * user. The server can compute it from the rest of the URL, which Digest needs, and it is never sent.
 *
 * @param proves whether the client has shown that it knows this password
 */
export function verifyStreamPassword(
  url: RtspUrl,
  verb: StreamVerb,
  keys: readonly Uint8Array[],
  nowMs: number,
  proves: (password: string) => boolean,
): SignatureVerdict {
  const { grant, signature } = readGrant(url);
  if (grant === undefined || signature !== undefined) return refused('missing');
  const isGenuine = keys.some((key) => proves(signatureOf(key, grant).toString('base64url')));
  return isGenuine ? verdictOf(grant, verb, nowMs) : refused('bad-signature');
}

/** What a signature covers. */
interface Grant {
  readonly verb: string;
  readonly path: string;
  readonly expires: string;
  readonly salt: string;
}

/** A parameter that occurs twice counts as empty, so that nobody can have one value checked and another one used. */
function readGrant(url: RtspUrl): { readonly grant: Grant | undefined; readonly signature: string | undefined } {
  const path = streamPathOf(url);
  const query = new URLSearchParams(url.query);
  const once = (name: string): string | undefined => {
    const values = query.getAll(name);
    return values.length > 1 ? '' : values[0];
  };
  const [expires, verb, salt, signature] = [once('expires'), once('verb'), once('salt'), once('signature')];
  const isWhole = path !== undefined && !!expires && !!verb && !!salt;
  return { grant: isWhole ? { verb, path, expires, salt } : undefined, signature };
}

function verdictOf({ path, verb: signedVerb, expires }: Grant, verb: StreamVerb, nowMs: number): SignatureVerdict {
  if (!/^\d{1,15}$/.test(expires)) return refused('bad-signature');
  if (signedVerb !== verb) return refused('wrong-verb');
  const expiresAtS = Number(expires);
  return nowMs < expiresAtS * 1000 ? { tag: 'valid', path, expiresAtS } : refused('expired');
}

function refused(refusal: SignatureRefusal): SignatureVerdict {
  return { tag: 'refused', refusal };
}

/** Each field has its own line and can't contain a line break, so different fields never give the same signed text. */
function signatureOf(key: Uint8Array, { verb, path, expires, salt }: Grant): Buffer {
  return hmacSha256(key, ['weir-rtsp-1', verb, path, expires, salt].join('\n'));
}
