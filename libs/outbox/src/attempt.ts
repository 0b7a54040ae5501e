import { performance } from 'node:perf_hooks';
import type { Logger } from '@weir/platform';
import { within } from '@weir/timing';
import type { z } from 'zod';
import type { LeasedMessage, Outcome } from './message.js';
import type { Leased } from './message-store.js';

export interface AttemptContext {
  /** Aborted when the time-out is over, when the outbox stops, and when another instance may take the message. */
  readonly signal: AbortSignal;
  /**
   * Stores what the next attempt needs and what the list shows: progress, the id of an unfinished upload. It replaces
   * the earlier note.
   * @throws BrokenOff if another instance may have taken the message
   */
  note(text: string): Promise<void>;
}

export type Message<Payload> = LeasedMessage & { readonly payload: Payload };

export interface Delivery<Payload> {
  readonly schema: z.ZodType<Payload>;
  deliver(message: Message<Payload>, context: AttemptContext): Promise<Outcome>;
}

export interface AttemptPorts {
  renew(leased: Leased, leaseMs: number): Promise<boolean>;
  note(leased: Leased, text: string): Promise<boolean>;
  readonly log: Pick<Logger, 'warn' | 'error'>;
}

export interface AttemptTimes {
  readonly timeoutMs: number;
  readonly leaseMs: number;
}

type BreakReason = 'timeout' | 'stopping' | 'lease-lost';

const BREAK_TEXT: Readonly<Record<BreakReason, string>> = {
  timeout: 'the attempt took too long',
  stopping: 'the instance stops',
  'lease-lost': 'another instance may have taken the message',
};

/** The reason why an attempt's signal was aborted. */
export class BrokenOff extends Error {
  override readonly name = 'BrokenOff';

  constructor(readonly reason: BreakReason) {
    super(BREAK_TEXT[reason]);
  }
}

const RENEWALS_PER_LEASE = 3;
/** How long a handler may take to return after its signal was aborted. Then nobody waits for it any more. */
const ABORT_GRACE_MS = 2_000;

/** One delivery of one message by its handler, during which the lease is renewed. */
export class Attempt<Payload> {
  readonly #abort = new AbortController();
  #timers: NodeJS.Timeout[] = [];
  #renewedAtMs: number;

  constructor(
    private readonly delivery: Delivery<Payload>,
    private readonly leased: Leased,
    private readonly times: AttemptTimes,
    private readonly ports: AttemptPorts,
    leasedAtMs: number,
  ) {
    this.#renewedAtMs = leasedAtMs;
  }

  /** The handler was broken off because the instance stops, so its failure says nothing about the destination. */
  get stopped(): boolean {
    return this.#breakReason === 'stopping';
  }

  stop(): void {
    this.#breakOff('stopping');
  }

  /** Never throws. */
  async run(): Promise<Outcome> {
    const { message } = this.leased;
    const payload = this.delivery.schema.safeParse(message.payload);
    if (!payload.success) {
      this.ports.log.error({ err: payload.error, messageId: message.id }, 'the payload of a message isn’t understood');
      return { tag: 'retry', words: 'the payload isn’t understood' };
    }
    this.#timers = [
      setTimeout(() => this.#breakOff('timeout'), this.times.timeoutMs),
      setInterval(() => void this.#renew(), this.times.leaseMs / RENEWALS_PER_LEASE),
    ];
    try {
      return await this.#endOf(this.delivery.deliver({ ...message, payload: payload.data }, this.#context()));
    } catch (err) {
      const { signal } = this.#abort;
      if (signal.reason instanceof BrokenOff) return { tag: 'retry', words: signal.reason.message };
      this.ports.log.error({ err, messageId: message.id, queue: message.queue }, 'a message could not be delivered');
      return { tag: 'retry', words: `unexpected error (${err instanceof Error ? err.name : typeof err})` };
    } finally {
      for (const timer of this.#timers) clearInterval(timer);
    }
  }

  get #breakReason(): BreakReason | undefined {
    const reason: unknown = this.#abort.signal.reason;
    return reason instanceof BrokenOff ? reason.reason : undefined;
  }

  #context(): AttemptContext {
    return {
      signal: this.#abort.signal,
      note: async (text) => {
        this.#abort.signal.throwIfAborted();
        if (await this.ports.note(this.leased, text)) return;
        this.#breakOff('lease-lost');
        this.#abort.signal.throwIfAborted();
      },
    };
  }

  async #endOf(delivering: Promise<Outcome>): Promise<Outcome> {
    const { signal } = this.#abort;
    const aborted = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    return Promise.race([delivering, aborted.then(() => within(ABORT_GRACE_MS, delivering))]);
  }

  async #renew(): Promise<void> {
    const askedAtMs = performance.now();
    try {
      if (await this.ports.renew(this.leased, this.times.leaseMs)) this.#renewedAtMs = askedAtMs;
      else this.#breakOff('lease-lost');
    } catch (err) {
      const { id: messageId } = this.leased.message;
      this.ports.log.warn({ err, messageId }, 'a lease could not be renewed');
      if (performance.now() - this.#renewedAtMs > this.times.leaseMs) this.#breakOff('lease-lost');
    }
  }

  #breakOff(reason: BreakReason): void {
    this.#abort.abort(new BrokenOff(reason));
  }
}
