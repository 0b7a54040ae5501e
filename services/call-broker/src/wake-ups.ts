import type { OutboundGuard } from '@weir/outbound';
import { postWebhook, type NewMessage, type Outbox, type Outcome, type Transaction } from '@weir/outbox';
import { MESSAGE_FLAG, webhookRequest, type MessageFlag } from '@weir/protocol-topvdn';
import { z } from 'zod';
import type { AppStore } from './app-store.js';
import type { MessageStore } from './message-store.js';

/** A message for a device that has no socket, or doesn't answer on it. */
export interface WakeUp {
  /** The app of the device. */
  readonly appId: string;
  readonly id: string;
  readonly to: number;
  readonly from: number;
  readonly msg: string;
  readonly flag: MessageFlag;
}

const wakeUpSchema = z.object({
  appId: z.string(),
  id: z.string(),
  to: z.number(),
  from: z.number(),
  msg: z.string(),
  flag: z.literal(Object.values(MESSAGE_FLAG)),
  createdS: z.number(),
});
type StoredWakeUp = z.infer<typeof wakeUpSchema>;

export interface WakeUpsPorts {
  readonly outbox: Pick<Outbox, 'add' | 'addAlone' | 'wake' | 'deliver'>;
  readonly apps: Pick<AppStore, 'find'>;
  readonly store: Pick<MessageStore, 'isStored'>;
  readonly guard: Pick<OutboundGuard, 'fetch'>;
}

const QUEUE = 'wake-up';
/** A call rings for a shorter time than this. */
const KEEP_TRYING_MS = 10 * 60_000;
const TIMEOUT_MS = 10_000;
/** Time for everything but the call. */
const SPARE_MS = 5_000;
const PACE = { firstMs: 1_000, maxMs: 30_000 } as const;
const CONCURRENCY = 32;
const PER_APP = 8;

/** Calls the push gateways of operators, which wake devices: once for each message. */
export class WakeUps {
  /** From now on this instance delivers wake-ups. */
  constructor(private readonly ports: WakeUpsPorts) {
    ports.outbox.deliver(QUEUE, {
      schema: wakeUpSchema,
      deliver: ({ payload }, { signal }) => this.#deliver(payload, signal),
      concurrency: CONCURRENCY,
      perDestination: PER_APP,
      timeoutMs: TIMEOUT_MS + SPARE_MS,
      pace: PACE,
    });
  }

  /** In the transaction that stores the message. Call `look` afterwards. */
  async add(transaction: Transaction, wakeUp: WakeUp): Promise<void> {
    await this.ports.outbox.add(transaction, messageOf(wakeUp));
  }

  async addAlone(wakeUp: WakeUp): Promise<void> {
    await this.ports.outbox.addAlone(messageOf(wakeUp));
  }

  look(): void {
    this.ports.outbox.wake(QUEUE);
  }

  async #deliver({ appId, to, createdS, ...message }: StoredWakeUp, signal: AbortSignal): Promise<Outcome> {
    const { apps, store, guard } = this.ports;
    const app = await apps.find(appId);
    if (app === undefined || app.wakeHook === '') return { tag: 'dead', words: 'the app has no wakeHook any more' };
    if (message.flag === MESSAGE_FLAG.acknowledged && !(await store.isStored(message.id)))
      return { tag: 'delivered', words: 'the device has acknowledged the message meanwhile' };
    const data = { device: to, ...message, created: createdS };
    const request = webhookRequest({ event: 'device-wake-up', data }, app);
    const limits = { signal, timeoutMs: TIMEOUT_MS, schemes: ['https', 'http'] };
    return postWebhook(guard, { url: app.wakeHook, ...request }, limits);
  }
}

const messageOf = ({ appId, id, to, from, msg, flag }: WakeUp): NewMessage => ({
  queue: QUEUE,
  // The message may be found unanswered several times; its device is woken once.
  id: `wake-up-${id}`,
  scope: appId,
  destination: appId,
  keepTryingMs: KEEP_TRYING_MS,
  payload: { appId, id, to, from, msg, flag, createdS: Math.floor(Date.now() / 1_000) } satisfies StoredWakeUp,
});
