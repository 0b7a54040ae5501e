// Hashing is a pure function of its inputs, without I/O and state, so it is allowed in pure code.
// eslint-disable-next-line no-restricted-imports
import { createHmac, timingSafeEqual } from 'node:crypto';
import { controlOf, type Control } from './control-word.js';
import { LENGTHS, MAX_TOKEN_LIFETIME_S } from './settings.js';

/** The fields of a token's text, not verified. */
export interface Token {
  readonly cid: number;
  /** The control word. */
  readonly control: number;
  /** UNIX time in seconds. */
  readonly expireS: number;
  /** When a recording was made, UNIX time in seconds: only in tokens for one recording. */
  readonly vodTimeS?: number;
  /** An IPv4 address; the first of its four numbers is the most significant one. */
  readonly ip?: number;
  /** A host name. */
  readonly refer?: string;
  readonly objectId?: number;
}

export interface ParsedToken extends Token {
  /** What the control word means. */
  readonly rights: Control;
  /** 32 lowercase hexadecimal digits. */
  readonly digest: string;
}

export type TokenRefusal =
  /** Not a token. */
  | 'malformed'
  /** Made with another key, or changed. */
  | 'wrong-digest'
  | 'expired'
  /** It expires later than weir allows for any token. */
  | 'lives-too-long'
  /** It is bound to another address, a web page, an object or a recording. */
  | 'bound';

export type TokenReading =
  { readonly tag: 'token'; readonly token: ParsedToken } | { readonly tag: 'refused'; readonly reason: TokenRefusal };

const refused = (reason: TokenRefusal): { readonly tag: 'refused'; readonly reason: TokenRefusal } => ({
  tag: 'refused',
  reason,
});

const MAX_UINT32 = 0xffffffff;
const DECIMAL = /^(?:0|[1-9]\d{0,9})$/;
const DIGEST = /^[0-9a-f]{32}$/;
const REFER = /^[A-Za-z0-9.-]{1,253}$/;

/** Only the shortest decimal form, so that no two texts are the same token. */
const uint32 = (text: string | undefined): number | undefined => {
  if (text === undefined || !DECIMAL.test(text)) return undefined;
  const value = Number(text);
  return value <= MAX_UINT32 ? value : undefined;
};

const OPTIONAL_FIELDS = ['vodTimeS', 'ip', 'refer', 'objectId'] as const;

/**
 * Reads a token's text, which may come from anyone. Its check bits say which optional fields it must contain; one field
 * more than these is the time of a recording. Any other number of fields is refused.
 */
export const parseToken = (text: string): TokenReading => {
  if (text.length > LENGTHS.token) return refused('malformed');
  const [cidText, controlText, expireText, ...rest] = text.split('_');
  const digest = rest.pop();
  const cid = uint32(cidText);
  const control = uint32(controlText);
  const expireS = uint32(expireText);
  const rights = control === undefined ? undefined : controlOf(control);
  if (cid === undefined || control === undefined || expireS === undefined) return refused('malformed');
  if (rights === undefined || digest === undefined || !DIGEST.test(digest)) return refused('malformed');
  const bound = { ip: rights.checkIp, refer: rights.checkRefer, objectId: rights.checkObjectId };
  const boundCount = Object.values(bound).filter(Boolean).length;
  const present = { ...bound, vodTimeS: rest.length === boundCount + 1 };
  const names = OPTIONAL_FIELDS.filter((name) => present[name]);
  if (names.length !== rest.length) return refused('malformed');
  const optional: { vodTimeS?: number; ip?: number; refer?: string; objectId?: number } = {};
  for (const [index, name] of names.entries()) {
    const field = rest[index] ?? '';
    if (name === 'refer') {
      if (!REFER.test(field)) return refused('malformed');
      optional.refer = field;
    } else {
      const value = uint32(field);
      if (value === undefined) return refused('malformed');
      optional[name] = value;
    }
  }
  return { tag: 'token', token: { cid, control, expireS, ...optional, rights, digest } };
};

/** The HMAC-MD5 of the fields in the order of the text: numbers as little-endian uint32, the host name as its characters. */
const digestOf = (token: Token, appKey: string): Buffer => {
  const hmac = createHmac('md5', appKey);
  const addNumber = (value: number | undefined) => {
    if (value === undefined) return;
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    hmac.update(bytes);
  };
  for (const value of [token.cid, token.control, token.expireS, token.vodTimeS, token.ip]) addNumber(value);
  if (token.refer !== undefined) hmac.update(token.refer);
  addNumber(token.objectId);
  return hmac.digest();
};

/**
 * Makes a token's text. It throws for fields that `parseToken` would refuse.
 *
 * @param appKey of the app whose ranges contain the cid
 */
export const makeToken = (token: Token, appKey: string): string => {
  const { cid, control, expireS, vodTimeS, ip, refer, objectId } = token;
  const fields = [cid, control, expireS, vodTimeS, ip, refer, objectId].filter((field) => field !== undefined);
  const outside = fields.find((field) => typeof field === 'number' && uint32(String(field)) === undefined);
  if (outside !== undefined) throw new RangeError(`${outside} is no 32-bit number, so a token can't contain it`);
  const text = [...fields, digestOf(token, appKey).toString('hex')].join('_');
  const reading = parseToken(text);
  if (reading.tag === 'refused')
    throw new RangeError("The control word doesn't fit the fields; set the check bits of the fields that are given");
  return text;
};

export interface TokenCheck {
  /** The address from which the token came, for tokens that are bound to one. */
  readonly clientIp?: string | undefined;
  /** The longest time from now until a token expires; weir's own limit by default. */
  readonly maxLifetimeS?: number;
}

const ipv4Number = (text: string): number | undefined => {
  const match = /^(?:::ffff:)?(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/i.exec(text);
  const bytes = match?.slice(1).map(Number) ?? [];
  return bytes.length === 4 && bytes.every((byte) => byte <= 255)
    ? bytes.reduce((number, byte) => number * 256 + byte, 0)
    : undefined;
};

/**
 * Verifies a token that was read. Tokens that are bound to a web page, an object or a recording are refused, because
 * nothing that weir serves can check that.
 *
 * @param appKey of the app whose ranges contain the token's cid
 */
export const verifyToken = (
  token: ParsedToken,
  appKey: string,
  nowMs: number,
  { clientIp, maxLifetimeS = MAX_TOKEN_LIFETIME_S }: TokenCheck = {},
): { readonly tag: 'valid' } | { readonly tag: 'refused'; readonly reason: TokenRefusal } => {
  if (!timingSafeEqual(digestOf(token, appKey), Buffer.from(token.digest, 'hex'))) return refused('wrong-digest');
  if (token.expireS * 1_000 <= nowMs) return refused('expired');
  if (token.expireS * 1_000 > nowMs + maxLifetimeS * 1_000) return refused('lives-too-long');
  if (token.vodTimeS !== undefined || token.refer !== undefined || token.objectId !== undefined)
    return refused('bound');
  if (token.ip !== undefined && (clientIp === undefined || ipv4Number(clientIp) !== token.ip)) return refused('bound');
  return { tag: 'valid' };
};
