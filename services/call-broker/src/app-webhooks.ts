import { OutboundFailed, OutboundRefused, type OutboundGuard } from '@weir/outbound';
import { hostOf, postWebhook, type Outbox, type Outcome } from '@weir/outbox';
import { webhookHeaders, webhookRequest, type Endpoint, type WebhookEvent } from '@weir/protocol-topvdn';
import { z } from 'zod';
import type { App, AppStore } from './app-store.js';
import type { StateChange } from './device-channels.js';
import { connectionFields } from './device-state.js';

export interface AppWebhooksPorts {
  readonly apps: Pick<AppStore, 'find' | 'ownerOf'>;
  readonly outbox: Pick<Outbox, 'addAlone' | 'deliver'>;
  readonly guard: Pick<OutboundGuard, 'fetch'>;
  /** Where devices open their channels, as far as the settings tell. */
  readonly tracker: Endpoint;
}

type DataOf<Event extends WebhookEvent['event']> = Extract<WebhookEvent, { event: Event }>['data'];

const QUEUE = 'webhook';
const REACH_TIMEOUT_MS = 5_000;

/** Time for everything but the call. */
const SPARE_MS = 10_000;
const TIMEOUT_MS = 20_000;
const CONCURRENCY = 32;
const PER_DESTINATION = 4;

const payloadSchema = z.object({
  url: z.string(),
  event: z.literal(['device-state', 'device-message', 'device-record-clip']),
  body: z.string(),
}) satisfies z.ZodType<{ event: WebhookEvent['event'] }>;
type Payload = z.infer<typeof payloadSchema>;
type AppEvent = Extract<WebhookEvent, Pick<Payload, 'event'>>;

/** What happens is told to the servers of the apps that want it, through the outbox. */
export class AppWebhooks {
  constructor(private readonly ports: AppWebhooksPorts) {}

  /** From now on this instance delivers. */
  deliver(): void {
    this.ports.outbox.deliver(QUEUE, {
      schema: payloadSchema,
      deliver: ({ scope, payload }, { signal }) => this.#deliver(scope, payload, signal),
      ...{ concurrency: CONCURRENCY, perDestination: PER_DESTINATION, timeoutMs: TIMEOUT_MS + SPARE_MS },
    });
  }

  /** Resolves when it can't be lost any more. */
  async deviceState({ cid, presence }: StateChange): Promise<void> {
    const { apps, tracker } = this.ports;
    const app = await apps.ownerOf(cid);
    if (app === undefined || app.stateWebhook === '') return;
    const data = { device: cid, ...connectionFields(tracker, presence) };
    await this.#add(app, app.stateWebhook, { event: 'device-state', data }, `state/${cid}`);
  }

  /** Resolves when it can't be lost any more. */
  async deviceMessage(app: App, data: DataOf<'device-message'>): Promise<void> {
    if (app.webhook !== '')
      await this.#add(app, app.webhook, { event: 'device-message', data }, `messages/${data.from}`);
  }

  /** Resolves when it can't be lost any more. A clip is told once. */
  async recordClip(app: App, data: DataOf<'device-record-clip'>): Promise<void> {
    const id = `clip-${data.clip_id}`;
    if (app.webhook !== '')
      await this.#add(app, app.webhook, { event: 'device-record-clip', data }, `clips/${data.device}`, id);
  }

  /** Whether a server answers there, whatever it says. */
  async isReachable(url: string): Promise<boolean> {
    try {
      await this.ports.guard.fetch(url, {
        ...{ method: 'HEAD', redirects: 'return', answerBody: 'cut', timeoutMs: REACH_TIMEOUT_MS },
      });
      return true;
    } catch (error) {
      if (error instanceof OutboundFailed || error instanceof OutboundRefused) return false;
      throw error;
    }
  }

  /** Events of one device keep their order. */
  async #add(app: App, url: string, event: AppEvent, key: string, id?: string): Promise<void> {
    const { body } = webhookRequest(event, app);
    const payload = { url, event: event.event, body } satisfies Payload;
    await this.ports.outbox.addAlone({
      ...{ queue: QUEUE, scope: app.id, key, destination: hostOf(url), payload },
      ...(id !== undefined && { id }),
    });
  }

  /** Each attempt is signed with the key that the app has by then. */
  async #deliver(appId: string, { url, event, body }: Payload, signal: AbortSignal): Promise<Outcome> {
    const { apps, guard } = this.ports;
    const app = await apps.find(appId);
    if (app === undefined) return { tag: 'dead', words: 'there is no such app any more' };
    const limits = { signal, timeoutMs: TIMEOUT_MS, schemes: ['https', 'http'] };
    return postWebhook(guard, { url, body, headers: webhookHeaders(event, body, app) }, limits);
  }
}
