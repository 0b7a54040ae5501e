/**
 * The parts of an RTSP URL. Path and query are kept character by character, because devices compare them byte for byte.
 */
export interface RtspUrl {
  readonly scheme: 'rtsp' | 'rtsps';
  /** Lower case; IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
  /** As it was sent: '' or with its leading slash, still percent-encoded. */
  readonly path: string;
  /** As it was sent, without the question mark; '' if there is none. */
  readonly query: string;
  readonly user: UrlUser | undefined;
}

export interface UrlUser {
  readonly username: string;
  readonly password: string;
}

export const DEFAULT_PORTS = { rtsp: 554, rtsps: 322 } as const;

/**
 * Returns undefined unless the text is an absolute rtsp(s) URL with a plain host name or address. Unlike WHATWG's
 * parser, it keeps `#` in path and password, because cameras use them, and accepts a password with `@`. To connect, use
 * the host found here; don't parse the text again.
 */
export function parseRtspUrl(text: string): RtspUrl | undefined {
  if (text.length > 8192 || hasControls(text)) return undefined;
  const match = /^(rtsps?):\/\/([^/?]*)([^?]*)(?:\?(.*))?$/i.exec(text);
  if (!match) return undefined;
  const [, schemeText = '', authority = '', path = '', query = ''] = match;
  // Other parsers end the authority at a backslash.
  if (authority.includes('\\')) return undefined;
  const scheme = schemeText.toLowerCase() === 'rtsps' ? 'rtsps' : 'rtsp';
  const at = authority.lastIndexOf('@');
  const hostAndPort = /^(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9._-]{1,253}))(?::(\d{0,5}))?$/i.exec(authority.slice(at + 1));
  const host = (hostAndPort?.[1] ?? hostAndPort?.[2])?.toLowerCase();
  if (!hostAndPort || host === undefined) return undefined;
  const port = hostAndPort[3] ? Number(hostAndPort[3]) : DEFAULT_PORTS[scheme];
  if (port < 1 || port > 65535) return undefined;
  const user = at === -1 ? undefined : parseUser(authority.slice(0, at));
  if (user !== undefined && hasControls(user.username + user.password)) return undefined;
  return { scheme, host, port, path: withoutBlanks(path), query: withoutBlanks(query), user };
}

/** Control characters would end the line that a request or header is on. */
function hasControls(text: string): boolean {
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  return /[\0-\x1f\x7f]/.test(text);
}

/** Percent-encodes blanks of every alphabet, because a request line is split at blanks. */
function withoutBlanks(text: string): string {
  return text.replace(/\s/g, encodeURIComponent);
}

function parseUser(text: string): UrlUser {
  const colon = text.indexOf(':');
  const username = colon === -1 ? text : text.slice(0, colon);
  const password = colon === -1 ? '' : text.slice(colon + 1);
  return { username: decoded(username) ?? username, password: decoded(password) ?? password };
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    if (error instanceof URIError) return undefined;
    throw error;
  }
}

/** Without user and password, so it may be sent and logged; a default port is left out. */
export function formatRtspUrl(url: RtspUrl): string {
  const query = url.query === '' ? '' : `?${url.query}`;
  return `${url.scheme}://${authorityOf(url)}${url.path}${query}`;
}

/** For people: the URL as it was given, with its password hidden. */
export function withHiddenPassword(text: string): string {
  const [scheme = '', authority = ''] = /^([^:]*:\/\/)([^/?]*)/.exec(text)?.slice(1) ?? [];
  const at = authority.lastIndexOf('@');
  const colon = authority.indexOf(':');
  if (at === -1 || colon === -1 || colon > at) return text;
  return `${scheme}${authority.slice(0, colon)}:***${text.slice(scheme.length + at)}`;
}

function authorityOf(url: RtspUrl): string {
  const host = url.host.includes(':') ? `[${url.host}]` : url.host;
  return url.port === DEFAULT_PORTS[url.scheme] ? host : `${host}:${url.port}`;
}

/**
 * The percent-decoded path of the stream, without slashes at either end; undefined if it is invalid or has `.` or `..`
 * segments.
 */
export function streamPathOf(url: RtspUrl): string | undefined {
  const path = decoded(url.path);
  if (path === undefined) return undefined;
  if (hasControls(path) || path.includes('\\')) return undefined;
  const trimmed = trimSlashes(path);
  return trimmed.split('/').some((segment) => segment === '.' || segment === '..') ? undefined : trimmed;
}

function trimSlashes(text: string): string {
  let start = 0;
  let end = text.length;
  while (text[start] === '/') start += 1;
  while (end > start && text[end - 1] === '/') end -= 1;
  return text.slice(start, end);
}

/** The Content-Base of DESCRIBE: the URL without query and user, with a slash at the end. */
export function contentBaseOf(url: RtspUrl): string {
  return `${formatRtspUrl({ ...url, path: `/${trimSlashes(url.path)}`, query: '' })}/`;
}

/**
 * The URL of a track or presentation, from a base (Content-Base, Content-Location or the request's URL) and its
 * `a=control`. The control is appended to the base including its query, as ffmpeg and live555 do and cameras expect.
 */
export function resolveControl(base: string, control: string | undefined): string {
  if (control === undefined || control === '' || control === '*') return base;
  return joinControl(base, writable(control));
}

/** A description may contain characters that a request line can't. */
function writable(control: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  return control.replace(/[\0-\x1f\x7f\s]/g, encodeURIComponent);
}

function joinControl(base: string, control: string): string {
  if (/^rtspu?s?:\/\//i.test(control)) return withoutUser(withOneScheme(control));
  if (control.startsWith('?')) return base + control;
  if (control.startsWith('/')) {
    const url = parseRtspUrl(base);
    if (url && url.path !== '' && control.startsWith(url.path)) {
      return `${url.scheme}://${authorityOf(url)}${control}`;
    }
    return base.endsWith('/') ? base + control.slice(1) : base + control;
  }
  return base.endsWith('/') ? base + control : `${base}/${control}`;
}

/** Some cameras write the scheme of their URLs twice, as in `rtsp://rtsp://10.0.0.1/live/`. */
export const withOneScheme = (text: string): string => text.replace(/^(?:rtsps?:\/\/)+(?=rtsps?:\/\/)/i, '');

function withoutUser(text: string): string {
  const url = parseRtspUrl(text);
  return url?.user ? formatRtspUrl(url) : text;
}

export type SetupTarget =
  { readonly tag: 'track'; readonly index: number } | { readonly tag: 'aggregate' } | { readonly tag: 'elsewhere' };

/**
 * Finds the track that a SETUP's URL means. A client may have joined base and control before or after the query,
 * dropped the query, kept a doubled slash, or sent an absolute control.
 */
export function setupTargetOf(presentation: RtspUrl, controls: readonly string[], url: RtspUrl): SetupTarget {
  const base = trimSlashes(presentation.path);
  const candidates = [trimSlashes(url.path), trimSlashes(`${url.path}?${url.query}`)].map(
    (text) => decoded(text) ?? text,
  );
  const decodedBase = decoded(base) ?? base;
  const index = controls.findIndex((control) =>
    candidates.some((candidate) => namesTrack(candidate, decodedBase, pathOfControl(control))),
  );
  if (index !== -1) return { tag: 'track', index };
  return candidates[0] === decodedBase ? { tag: 'aggregate' } : { tag: 'elsewhere' };
}

function pathOfControl(control: string): { readonly absolute: boolean; readonly text: string } {
  const url = parseRtspUrl(control);
  if (!url) return { absolute: false, text: trimSlashes(decoded(control) ?? control) };
  const text = trimSlashes(url.query === '' ? url.path : `${url.path}?${url.query}`);
  return { absolute: true, text: decoded(text) ?? text };
}

function namesTrack(
  candidate: string,
  base: string,
  control: { readonly absolute: boolean; readonly text: string },
): boolean {
  if (control.text === '' || control.text === '*') return false;
  if (control.absolute || control.text.startsWith(`${base}/`)) {
    if (candidate === control.text) return true;
  }
  if (!candidate.startsWith(base)) return false;
  const rest = candidate.slice(base.length);
  if (control.text.startsWith('?')) return rest === control.text || rest === `/${control.text}`;
  if (!rest.endsWith(`/${control.text}`)) return false;
  const between = trimSlashes(rest.slice(0, rest.length - control.text.length));
  return between === '' || between.startsWith('?');
}
