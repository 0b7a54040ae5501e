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
  /** Seconds since 1970: the first moment the URL is no longer good. */
  readonly expiresAtS: number;
  /** Random, for two URLs of one moment to differ: letters, digits, `-`, `_`. */
  readonly salt: string;
  /** At least 32 random bytes. */
  readonly key: Uint8Array;
}

export type SignatureRefusal = 'missing' | 'bad-signature' | 'wrong-verb' | 'expired';

export type SignatureVerdict =
  | { readonly tag: 'valid'; readonly path: string; readonly expiresAtS: number }
  | { readonly tag: 'refused'; readonly refusal: SignatureRefusal };

/**
 * The URL a robot pushes to or a player plays: whoever has it may do that one thing to that one path until it expires.
 * @throws RangeError for a key, salt, expiry or origin that would make a URL that can't be verified
 */
export function signStreamUrl(url: UrlToSign): string {
  if (url.key.length < 32) throw new RangeError('a signing key has at least 32 bytes');
  if (!/^[\w-]{1,64}$/.test(url.salt)) throw new RangeError('a salt is 1 to 64 letters, digits, - or _');
  if (!Number.isSafeInteger(url.expiresAtS) || url.expiresAtS < 0) throw new RangeError('expiry in whole seconds');
  const origin = parseRtspUrl(url.origin);
  const path = `/${url.path.split('/').map(encodeURIComponent).join('/')}`;
  const whole = origin && { ...origin, path, user: undefined };
  if (!whole || streamPathOf(whole) !== url.path) throw new RangeError('origin or path can not be written as a URL');
  const signature = signatureOf(url.key, url.verb, url.path, String(url.expiresAtS), url.salt).toString('base64url');
  const query = `expires=${url.expiresAtS}&verb=${url.verb}&salt=${url.salt}&signature=${signature}`;
  return formatRtspUrl({ ...whole, query });
}

/**
 * @param url as the peer sent it
 * @param verb what the peer asks for
 * @param keys every key that is still good, for changing keys without cutting URLs off
 */
export function verifyStreamUrl(
  url: RtspUrl,
  verb: StreamVerb,
  keys: readonly Uint8Array[],
  nowMs: number,
): SignatureVerdict {
  const path = streamPathOf(url);
  const query = new URLSearchParams(url.query);
  const once = (name: string): string | undefined => {
    const values = query.getAll(name);
    return values.length === 1 ? values[0] : undefined;
  };
  const [expires, signedVerb, salt, signature] = [once('expires'), once('verb'), once('salt'), once('signature')];
  if (path === undefined || !expires || !signedVerb || salt === undefined || !signature) return refused('missing');
  const given = Buffer.from(signature, 'base64url');
  const genuine = keys.filter((key) => sameSecret(given, signatureOf(key, signedVerb, path, expires, salt)));
  if (genuine.length === 0 || !/^\d{1,15}$/.test(expires)) return refused('bad-signature');
  if (signedVerb !== verb) return refused('wrong-verb');
  const expiresAtS = Number(expires);
  return nowMs < expiresAtS * 1000 ? { tag: 'valid', path, expiresAtS } : refused('expired');
}

function refused(refusal: SignatureRefusal): SignatureVerdict {
  return { tag: 'refused', refusal };
}

/** Every field is on a line of its own and none can hold a line break, so no two sets of fields sign alike. */
function signatureOf(key: Uint8Array, verb: string, path: string, expires: string, salt: string): Buffer {
  return hmacSha256(key, ['weir-rtsp-1', verb, path, expires, salt].join('\n'));
}
