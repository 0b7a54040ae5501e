import { Agent, fetch, Headers, Response, type BodyInit, type HeadersInit } from 'undici';
import { within } from '@weir/timing';
import { OutboundFailed, OutboundRefused } from './outbound-error.js';
import type { OutboundPolicy, OutboundTarget, PortRule } from './outbound-guard.js';

export interface OutboundRequest {
  readonly method?: string;
  readonly headers?: HeadersInit;
  /** A stream is sent as it comes; a redirect that would need it a second time is refused. */
  readonly body?: BodyInit | null;
  /** The time from the first look-up to the last byte of the last answer. Default 10 s. */
  readonly timeoutMs?: number;
  /** The limit for the answer's body after decompression. Default 1 MiB. */
  readonly maxResponseBytes?: number;
  /**
   * `cut`: the answer counts as soon as its head is there. The caller gets the part of its body that arrives within the
   * limit and two seconds. Default: an answer whose body is too large, breaks off or doesn't end in time is an error.
   */
  readonly answerBody?: 'whole' | 'cut';
  /** Default 3; 0 refuses every redirect. */
  readonly maxRedirects?: number;
  /** `return`: an answer that redirects is an answer like any other. Default: it is followed. */
  readonly redirects?: 'follow' | 'return';
  /** Default http and https. */
  readonly schemes?: readonly string[];
  readonly ports?: readonly PortRule[];
  readonly signal?: AbortSignal;
}

/** The answer with its body already read. */
export type OutboundResponse = Response;

interface Checker {
  check(url: string | URL, policy: OutboundPolicy): Promise<OutboundTarget>;
}

interface Hop {
  /** The URL as it was written: a URL object normalises the host and so hides an odd spelling. */
  readonly text: string;
  readonly url: URL;
  readonly method: string;
  readonly headers: Headers;
  readonly body: BodyInit | null;
}

const TIMEOUT_MS = 10_000;
const MAX_RESPONSE_BYTES = 1024 * 1024;
const MAX_REDIRECTS = 3;
const CUT_BODY_MS = 2_000;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
/** These headers are for the first origin only. */
const ORIGIN_HEADERS = ['authorization', 'cookie', 'proxy-authorization'];
const BODY_HEADERS = ['content-type', 'content-length', 'content-encoding', 'content-language', 'content-location'];
const NO_BODY = new Set([101, 204, 205, 304]);

const canBeSentTwice = (body: BodyInit | null): boolean =>
  body === null || typeof body === 'string' || body instanceof Uint8Array || body instanceof ArrayBuffer;

const becomesGet = (status: number, method: string): boolean =>
  (status === 303 && method !== 'HEAD') || ((status === 301 || status === 302) && method === 'POST');

const without = (headers: Headers, names: readonly string[]): Headers => {
  const kept = new Headers(headers);
  for (const name of names) kept.delete(name);
  return kept;
};

const nextHop = (hop: Hop, status: number, location: string): Hop => {
  if (!URL.canParse(location, hop.url.href)) throw new OutboundRefused('redirect', hop.url.hostname);
  const url = new URL(location, hop.url);
  const text = URL.canParse(location) ? location : url.href;
  if (hop.url.protocol === 'https:' && url.protocol !== 'https:') throw new OutboundRefused('redirect', url.hostname);
  const headers = url.origin === hop.url.origin ? hop.headers : without(hop.headers, ORIGIN_HEADERS);
  if (becomesGet(status, hop.method))
    return { text, url, method: 'GET', headers: without(headers, BODY_HEADERS), body: null };
  if (!canBeSentTwice(hop.body)) throw new OutboundRefused('redirect', url.hostname);
  return { text, url, method: hop.method, headers, body: hop.body };
};

const readBody = async (response: Response, maxBytes: number, host: string): Promise<Buffer> => {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    if (!(chunk instanceof Uint8Array)) throw new TypeError('A body consists of bytes');
    size += chunk.byteLength;
    if (size > maxBytes) throw new OutboundRefused('response-too-large', host);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
};

const whole = async (response: Response, maxBytes: number, host: string): Promise<Response> => {
  if (Number(response.headers.get('content-length') ?? 0) > maxBytes) {
    throw new OutboundRefused('response-too-large', host);
  }
  const bytes = await readBody(response, maxBytes, host);
  const body = NO_BODY.has(response.status) ? null : bytes;
  return new Response(body, { status: response.status, statusText: response.statusText, headers: response.headers });
};

/** The answer with the part of its body that arrives before the limit, the time-out or a fault of the connection. */
const cut = async (response: Response, maxBytes: number): Promise<Response> => {
  const chunks: Uint8Array[] = [];
  let size = 0;
  const reader = response.body?.getReader();
  const reading = async (): Promise<void> => {
    for (let part = await reader?.read(); part !== undefined && !part.done; part = await reader?.read()) {
      if (part.value instanceof Uint8Array) chunks.push(part.value.subarray(0, maxBytes - size));
      size = chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0);
      if (size >= maxBytes) return;
    }
  };
  // It doesn't matter why the body breaks off: the answer's head has been read.
  await within(
    CUT_BODY_MS,
    reading().catch(() => undefined),
    () => undefined,
  );
  const body = NO_BODY.has(response.status) ? null : Buffer.concat(chunks);
  return new Response(body, { status: response.status, statusText: response.statusText, headers: response.headers });
};

/** Sends one request and reads its answer, on a separate connection to the checked addresses. */
const exchange = async (
  hop: Hop,
  target: OutboundTarget,
  signal: AbortSignal,
  request: OutboundRequest,
): Promise<{ redirect: string; status: number } | { response: Response }> => {
  const maxBytes = request.maxResponseBytes ?? MAX_RESPONSE_BYTES;
  const agent = new Agent({ connect: { lookup: target.lookup }, pipelining: 0 });
  try {
    const response = await fetch(hop.url, {
      method: hop.method,
      headers: hop.headers,
      body: hop.body,
      ...(hop.body !== null && { duplex: 'half' as const }),
      redirect: 'manual',
      dispatcher: agent,
      signal,
    });
    const location = request.redirects === 'return' ? null : response.headers.get('location');
    if (location !== null && REDIRECTS.has(response.status)) return { redirect: location, status: response.status };
    if (request.answerBody === 'cut') return { response: await cut(response, maxBytes) };
    return { response: await whole(response, maxBytes, target.host) };
  } finally {
    await agent.destroy();
  }
};

const follow = async (
  checker: Checker,
  first: Hop,
  request: OutboundRequest,
  signal: AbortSignal,
): Promise<Response> => {
  const policy: OutboundPolicy = {
    schemes: request.schemes ?? ['http', 'https'],
    signal,
    ...(request.ports !== undefined && { ports: request.ports }),
  };
  const maxRedirects = request.maxRedirects ?? MAX_REDIRECTS;
  let hop = first;
  for (let redirects = 0; ; redirects++) {
    const target = await checker.check(hop.text, policy);
    const answer = await exchange(hop, target, signal, request);
    if ('response' in answer) return answer.response;
    if (redirects === maxRedirects) throw new OutboundRefused('too-many-redirects', hop.url.hostname);
    hop = nextHop(hop, answer.status, answer.redirect);
  }
};

export const guardedFetch = async (
  checker: Checker,
  input: string | URL,
  request: OutboundRequest,
): Promise<Response> => {
  const timeout = AbortSignal.timeout(request.timeoutMs ?? TIMEOUT_MS);
  const signal = request.signal === undefined ? timeout : AbortSignal.any([timeout, request.signal]);
  const text = input.toString();
  if (!URL.canParse(text)) throw new OutboundRefused('malformed', 'URL');
  const url = new URL(text);
  const headers = without(new Headers(request.headers), ['host']);
  const first: Hop = {
    text,
    url,
    method: (request.method ?? 'GET').toUpperCase(),
    headers,
    body: request.body ?? null,
  };
  try {
    return await follow(checker, first, request, signal);
  } catch (cause) {
    if (cause instanceof OutboundRefused || cause instanceof OutboundFailed) throw cause;
    if (timeout.aborted) throw new OutboundFailed('timeout', url.hostname, { cause });
    if (signal.aborted) throw new OutboundFailed('aborted', url.hostname, { cause });
    throw new OutboundFailed('connection', url.hostname, { cause });
  }
};
