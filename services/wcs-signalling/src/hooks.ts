import { createHmac } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { OutboundFailed, OutboundRefused, type OutboundGuard } from '@weir/outbound';
import type { Logger } from '@weir/platform';
import { namesOfClass } from '@weir/protocol-wcs';
import { backOffMs } from '@weir/timing';
import { Turnstile } from './turnstile.js';

/** The methods for which a backend may set rules. */
export const RULED_METHODS = [
  ...namesOfClass('offer', 'stop', 'query'),
  'StreamStatusEvent',
  'ConnectionStatusEvent',
  'RecordingStatusEvent',
] as const;

export type HookMethod = 'connect' | (typeof RULED_METHODS)[number];

/** An application's backend. */
export interface HookTarget {
  /** The base URL; `/connect`, `/publishStream` and so on are appended. */
  readonly url: string;
  /** Signs the bodies. When it is empty, nothing is signed. */
  readonly secret: string;
}

export type HookAnswer =
  | { readonly tag: 'accepted'; readonly body: unknown }
  /** The backend refused with a 4xx status. */
  | { readonly tag: 'refused'; readonly status: number }
  /** There was no usable answer. */
  | { readonly tag: 'failed'; readonly reason: string };

export interface HookPorts {
  readonly fetch: Pick<OutboundGuard, 'fetch'>;
  readonly log: Logger;
  /** The time for one question, with all its retries. */
  readonly timeoutMs: number;
  readonly retries: number;
  readonly maxConcurrent: number;
}

const MAX_ANSWER_BYTES = 256 * 1024;
const RETRY_PACE = { firstMs: 100, maxMs: 60_000, factor: 4 };

const hookUrl = (base: string, method: HookMethod): string => {
  const url = new URL(base);
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/${method}`;
  return url.href;
};

const hmacHex = (algorithm: 'md5' | 'sha256', secret: string, body: string): string =>
  createHmac(algorithm, secret).update(body).digest('hex');

/** The first header is the original server's, whose backends check MD5. New backends check the second header. */
export const signatureHeaders = (secret: string, body: string): Record<string, string> =>
  secret === ''
    ? {}
    : {
        authorization: `WCS ${hmacHex('md5', secret, body)}`,
        'x-weir-signature': `sha256=${hmacHex('sha256', secret, body)}`,
      };

const parseBody = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
};

/** Asks the backends of applications over HTTP, through the outbound guard. */
export class Hooks {
  readonly #turnstile: Turnstile;

  constructor(private readonly ports: HookPorts) {
    this.#turnstile = new Turnstile(ports.maxConcurrent);
  }

  async ask(target: HookTarget, method: HookMethod, message: Readonly<Record<string, unknown>>): Promise<HookAnswer> {
    const untilMs = performance.now() + this.ports.timeoutMs;
    const leave = await this.#turnstile.enter(this.ports.timeoutMs);
    if (leave === undefined) return this.#failed(method, 'too many hooks under way');
    try {
      return await this.#askUntil(target, method, JSON.stringify(message), untilMs);
    } finally {
      leave();
    }
  }

  async #askUntil(target: HookTarget, method: HookMethod, body: string, untilMs: number): Promise<HookAnswer> {
    for (let attempt = 0; ; attempt++) {
      const leftMs = Math.floor(untilMs - performance.now());
      if (leftMs <= 0) return this.#failed(method, 'timeout');
      try {
        return await this.#askOnce(target, method, body, leftMs);
      } catch (error) {
        const reason = this.#reasonOf(error);
        const mayPass = error instanceof OutboundFailed && error.reason !== 'timeout' && error.reason !== 'aborted';
        const delayMs = backOffMs(RETRY_PACE, attempt);
        if (!mayPass || attempt >= this.ports.retries || performance.now() + delayMs >= untilMs)
          return this.#failed(method, reason);
        await sleep(delayMs);
      }
    }
  }

  async #askOnce(target: HookTarget, method: HookMethod, body: string, timeoutMs: number): Promise<HookAnswer> {
    const response = await this.ports.fetch.fetch(hookUrl(target.url, method), {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...signatureHeaders(target.secret, body) },
      body,
      timeoutMs,
      maxRedirects: 0,
      maxResponseBytes: MAX_ANSWER_BYTES,
    });
    if (response.ok) return { tag: 'accepted', body: parseBody(await response.text()) };
    if (response.status >= 400 && response.status < 500) return { tag: 'refused', status: response.status };
    return this.#failed(method, `status ${response.status}`);
  }

  #reasonOf(error: unknown): string {
    if (error instanceof OutboundFailed || error instanceof OutboundRefused) return error.reason;
    if (error instanceof TypeError) return 'malformed URL';
    throw error;
  }

  #failed(method: HookMethod, reason: string): HookAnswer {
    this.ports.log.warn({ method, reason }, 'a REST hook gave no usable answer');
    return { tag: 'failed', reason };
  }
}
