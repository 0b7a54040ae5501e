import { OutboundFailed, OutboundRefused, retryAfterMs, type OutboundGuard } from '@weir/outbound';
import { z } from 'zod';
import type { Message } from './attempt.js';
import type { Failure, NewMessage, Outcome } from './message.js';
import type { QueueHandler } from './queue-worker.js';
import { webhookHeaders } from './webhook-signature.js';

/** The payload of a webhook's message. The body is sent as it is, the same in every attempt. */
export const webhookSchema = z.object({ url: z.string(), body: z.string() });
export type Webhook = z.output<typeof webhookSchema>;

/** The host of a URL: where a message goes. */
export const hostOf = (url: string): string => (URL.canParse(url) ? new URL(url).hostname : '');

/** The parts of a webhook's message that follow from the webhook; its owner adds the others. */
export const webhookMessage = (webhook: Webhook): Pick<NewMessage, 'payload' | 'destination'> => ({
  payload: webhook,
  destination: hostOf(webhook.url),
});

export interface WebhookPorts {
  readonly guard: Pick<OutboundGuard, 'fetch'>;
  /**
   * The receiver's present secrets: one, or two during a rotation. Undefined if the receiver wants no more webhooks;
   * then the message is dead.
   */
  secrets(message: Message<Webhook>): Promise<readonly string[] | undefined>;
  /** The receiver answered with 410: it wants no more webhooks. */
  gone?(message: Message<Webhook>): Promise<void>;
  /** See QueueHandler. */
  dead?(message: Message<Webhook>, failure: Failure): Promise<void>;
}

export type WebhookOptions = Pick<QueueHandler<Webhook>, 'concurrency' | 'perDestination' | 'pace' | 'leaseMs'> & {
  /** From the look-up to the answer. Default 20 s. */
  readonly timeoutMs?: number;
  /** Default: https and http. */
  readonly schemes?: readonly string[];
};

const TIMEOUT_MS = 20_000;
/** Time for everything but the request: the database, the secrets. */
const SPARE_MS = 10_000;
const CONCURRENCY = 32;
const PER_DESTINATION = 4;
const GONE = 410;
/** Statuses with which a receiver may say when it wants to be asked again. */
const THROTTLING = new Set([429, 502, 503, 504]);
const MAX_ANSWER_BYTES = 16 * 1024;

/** Delivers webhooks as Standard Webhooks 1.0.0 says. */
export const webhookHandler = (ports: WebhookPorts, options: WebhookOptions = {}): QueueHandler<Webhook> => {
  const { timeoutMs = TIMEOUT_MS, schemes = ['https', 'http'], ...queue } = options;
  return {
    concurrency: CONCURRENCY,
    perDestination: PER_DESTINATION,
    ...queue,
    schema: webhookSchema,
    timeoutMs: timeoutMs + SPARE_MS,
    ...(ports.dead && { dead: ports.dead.bind(ports) }),
    deliver: async (message, { signal }) => {
      const secrets = await ports.secrets(message);
      if (secrets === undefined) return { tag: 'dead', words: 'the receiver wants no more webhooks' };
      const outcome = await post(ports.guard, message, secrets, { signal, timeoutMs, schemes });
      if (outcome.status === GONE) await ports.gone?.(message);
      return outcome;
    },
  };
};

const post = async (
  guard: WebhookPorts['guard'],
  { id, payload: { url, body } }: Message<Webhook>,
  secrets: readonly string[],
  limits: PostLimits,
): Promise<Outcome> => {
  const signed = webhookHeaders({ id, timestampS: Math.floor(Date.now() / 1_000), body }, secrets);
  const headers = { ...signed, 'content-type': 'application/json', 'user-agent': 'weir' };
  return postWebhook(guard, { url, body, headers }, limits);
};

export interface PostLimits {
  readonly signal: AbortSignal;
  /** From the look-up to the answer. */
  readonly timeoutMs: number;
  readonly schemes: readonly string[];
}

/** Posts the body as it is, for webhooks that are signed in another way than that of Standard Webhooks. */
export const postWebhook = async (
  guard: Pick<OutboundGuard, 'fetch'>,
  { url, body, headers }: Webhook & { readonly headers: Readonly<Record<string, string>> },
  limits: PostLimits,
): Promise<Outcome> => {
  try {
    const answer = await guard.fetch(url, {
      ...limits,
      method: 'POST',
      headers,
      body,
      redirects: 'return',
      answerBody: 'cut',
      maxResponseBytes: MAX_ANSWER_BYTES,
    });
    return outcomeOf(answer.status, answer.headers);
  } catch (error) {
    return outcomeOfFailure(error);
  }
};

const outcomeOf = (status: number, headers: { get(name: string): string | null }): Outcome => {
  if (status >= 200 && status < 300) return { tag: 'delivered', status };
  if (status === GONE) return { tag: 'dead', status, words: 'the receiver wants no more webhooks (410)' };
  const redirects = status >= 300 && status < 400;
  const words = redirects ? `the receiver redirects (${status}), which isn’t followed` : `the receiver says ${status}`;
  const afterMs = THROTTLING.has(status) ? retryAfterMs(headers, Date.now()) : undefined;
  return { tag: 'retry', status, words, ...(afterMs !== undefined && { afterMs }) };
};

/** The errors' texts name the host at most, never the URL. */
const outcomeOfFailure = (error: unknown): Outcome => {
  if (error instanceof OutboundFailed) return { tag: 'retry', words: error.message };
  if (!(error instanceof OutboundRefused)) throw error;
  // A name may have another address later; everything else stays as it is.
  return { tag: error.reason === 'address' ? 'retry' : 'dead', words: error.message };
};
