export { BrokenOff, type AttemptContext, type Message } from './attempt.js';
export type {
  Attempt,
  Failure,
  LeasedMessage,
  ListedMessage,
  ListFilter,
  LoggedMessage,
  MessageState,
  NewMessage,
  Outcome,
  Replayed,
  ReplayOptions,
} from './message.js';
export type { Transaction } from './message-store.js';
export { Outbox, type OutboxOptions } from './outbox.js';
export type { QueueHandler } from './queue-worker.js';
export {
  hostOf,
  postWebhook,
  webhookHandler,
  webhookMessage,
  webhookSchema,
  type PostLimits,
  type Webhook,
  type WebhookOptions,
  type WebhookPorts,
} from './webhook.js';
export { newWebhookSecret, webhookHeaders } from './webhook-signature.js';
