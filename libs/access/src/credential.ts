/** The parts of an HTTP request that may carry a credential; Fastify's and Node's own requests have this shape. */
export interface CredentialCarrier {
  readonly url?: string | undefined;
  readonly headers: {
    readonly authorization?: string | undefined;
    readonly cookie?: string | undefined;
  };
}

export type CredentialSource = 'header' | 'query' | 'cookie';

/** The original documents of the robots' interface spell it `tonken`. */
const NAMES = ['token', 'tonken'] as const;
export const TOKEN_COOKIE = 'token';

const fromHeader = (authorization: string | undefined): string | undefined =>
  /^Bearer +(\S+) *$/i.exec(authorization ?? '')?.[1];

const fromQuery = (url: string | undefined): string | undefined => {
  const start = url?.indexOf('?') ?? -1;
  if (url === undefined || start === -1) return undefined;
  const query = new URLSearchParams(url.slice(start + 1));
  return NAMES.map((name) => query.get(name)).find((value) => value !== null && value !== '') ?? undefined;
};

const fromCookie = (cookie: string | undefined): string | undefined => {
  for (const pair of (cookie ?? '').split(';')) {
    const equals = pair.indexOf('=');
    const name = pair.slice(0, equals).trim();
    const value = pair.slice(equals + 1).trim();
    if (equals > 0 && value !== '' && NAMES.some((known) => known === name)) return value;
  }
  return undefined;
};

/**
 * The token or API key of a request, unverified: from `Authorization: Bearer`, else from `?token=` or `?tonken=`, else
 * from a cookie of either name. An Authorization header of another scheme is ignored.
 */
export const credentialOf = (
  request: CredentialCarrier,
  sources: readonly CredentialSource[] = ['header', 'query', 'cookie'],
): string | undefined =>
  (sources.includes('header') ? fromHeader(request.headers.authorization) : undefined) ??
  (sources.includes('query') ? fromQuery(request.url) : undefined) ??
  (sources.includes('cookie') ? fromCookie(request.headers.cookie) : undefined);
