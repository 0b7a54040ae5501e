import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '@weir/platform';
import { backOffMs, within, type Pace } from '@weir/timing';
import { Attempt, type AttemptPorts, type Delivery, type Message } from './attempt.js';
import type { Failure, Outcome } from './message.js';
import type { Leased, LeaseWish, NextAttempt } from './message-store.js';
import type { OutboxMetrics } from './metrics.js';

/**
 * How the messages of a queue are delivered. `deliver` makes one attempt. It may run again after it succeeded, when its
 * instance dies before that is stored, so it is idempotent by `message.id`. An error that it throws counts as `retry`;
 * the delivery log gets only the error's class, because its text may hold secrets.
 */
export interface QueueHandler<Payload> extends Delivery<Payload> {
  /**
   * Called before a message becomes dead. If it throws, the message stays waiting, and this is called again after the
   * next attempt; so it is idempotent too.
   */
  dead?(message: Message<Payload>, failure: Failure): Promise<void>;
  /** How many messages this instance delivers at the same time. Default 8. */
  readonly concurrency?: number;
  /** How many of them may go to one destination, so that a slow one doesn't hold up the others. Default: all. */
  readonly perDestination?: number;
  /** How long one attempt may take. Default 30 s. */
  readonly timeoutMs?: number;
  /** The pauses between attempts. Default: 2 s, and three times longer after each, up to half an hour. */
  readonly pace?: Pace;
  /** How long a message stays with an instance that was killed. Default 15 s. */
  readonly leaseMs?: number;
}

export interface QueueStore {
  takeBack(queue: string, pace: Pace): Promise<void>;
  lease(queue: string, wish: LeaseWish): Promise<Leased[]>;
  renew: AttemptPorts['renew'];
  note: AttemptPorts['note'];
  settle(leased: Leased, outcome: Outcome, durationMs: number, next: NextAttempt | undefined): Promise<void>;
}

export interface QueueWorkerPorts {
  readonly store: QueueStore;
  readonly log: Pick<Logger, 'warn' | 'error'>;
  readonly metrics: Pick<OutboxMetrics, 'attempted'>;
  /** How often to look for messages that somebody else has added. */
  readonly pollMs: number;
}

const CONCURRENCY = 8;
const TIMEOUT_MS = 30_000;
const LEASE_MS = 15_000;
const TAKE_BACKS_PER_LEASE = 5;
const PACE: Pace = { firstMs: 2_000, maxMs: 30 * 60_000, factor: 3 };
/** After this many deaths in a row, a message whose time is over isn't tried a last time: that wouldn't end it. */
const MANY_DEATHS = 2;
const DATABASE_PACE: Pace = { firstMs: 200, maxMs: 5_000 };

/** Delivers the messages of one queue as long as it is open. */
export class QueueWorker<Payload> {
  readonly #concurrency: number;
  readonly #pace: Pace;
  readonly #times: { readonly timeoutMs: number; readonly leaseMs: number };
  readonly #running = new Map<Attempt<Payload>, { readonly destination: string; readonly done: Promise<void> }>();
  readonly #closing = new AbortController();
  readonly #loop: Promise<void>;
  #wake = new AbortController();
  #takenBackMs = -Infinity;

  constructor(
    private readonly queue: string,
    private readonly handler: QueueHandler<Payload>,
    private readonly ports: QueueWorkerPorts,
  ) {
    this.#concurrency = handler.concurrency ?? CONCURRENCY;
    this.#pace = handler.pace ?? PACE;
    this.#times = { timeoutMs: handler.timeoutMs ?? TIMEOUT_MS, leaseMs: handler.leaseMs ?? LEASE_MS };
    this.#loop = this.#run();
  }

  /** Looks for messages at once instead of waiting for the next look. */
  wake(): void {
    this.#wake.abort();
  }

  /**
   * Leases nothing more and gives attempts in progress the grace time. Those that last longer are broken off, and
   * another instance makes them again. Idempotent.
   */
  async close(graceMs: number): Promise<void> {
    this.#closing.abort();
    this.wake();
    await this.#loop;
    const attempts = () => Promise.all([...this.#running.values()].map(({ done }) => done));
    await within(graceMs, attempts(), () => {
      for (const attempt of this.#running.keys()) attempt.stop();
    });
    await attempts();
  }

  async #run(): Promise<void> {
    for (let failures = 0; !this.#closing.signal.aborted;) {
      this.#wake = new AbortController();
      try {
        await this.#takeBack();
        await this.#leaseWhatIsDue();
        failures = 0;
        await this.#pause(this.ports.pollMs * (0.75 + Math.random() / 2), this.#wake.signal);
      } catch (err) {
        if (failures === 0) this.ports.log.warn({ err, queue: this.queue }, 'the outbox can’t be read; trying again');
        await this.#pause(backOffMs(DATABASE_PACE, failures++, Math.random()), this.#closing.signal);
      }
    }
  }

  /** Not at each look, because looks are many while messages are delivered, and instances rarely die. */
  async #takeBack(): Promise<void> {
    const nowMs = performance.now();
    if (nowMs - this.#takenBackMs < this.#times.leaseMs / TAKE_BACKS_PER_LEASE) return;
    await this.ports.store.takeBack(this.queue, this.#pace);
    this.#takenBackMs = nowMs;
  }

  async #leaseWhatIsDue(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      const { count, fullDestinations } = this.#room();
      if (count <= 0) return;
      const leasedAtMs = performance.now();
      const leased = await this.ports.store.lease(this.queue, { count, fullDestinations, ...this.#times });
      for (const one of leased) this.#begin(one, leasedAtMs);
      if (leased.length < count) return;
    }
  }

  /** How many messages may be leased at once, even if all of them go to the same destination. */
  #room(): Pick<LeaseWish, 'count' | 'fullDestinations'> {
    const free = this.#concurrency - this.#running.size;
    const { perDestination } = this.handler;
    if (perDestination === undefined) return { count: free, fullDestinations: [] };
    const counts = new Map<string, number>();
    for (const { destination } of this.#running.values())
      if (destination !== '') counts.set(destination, (counts.get(destination) ?? 0) + 1);
    const isFull = (count: number) => count >= perDestination;
    const busiest = Math.max(0, ...[...counts.values()].filter((count) => !isFull(count)));
    return {
      count: Math.min(free, perDestination - busiest),
      fullDestinations: [...counts].filter(([, count]) => isFull(count)).map(([destination]) => destination),
    };
  }

  #begin(leased: Leased, leasedAtMs: number): void {
    const attempt = new Attempt(
      this.handler,
      leased,
      this.#times,
      {
        renew: (one, ms) => this.ports.store.renew(one, ms),
        note: (one, text) => this.ports.store.note(one, text),
        log: this.ports.log,
      },
      leasedAtMs,
    );
    const done = this.#carryOut(attempt, leased).finally(() => {
      this.#running.delete(attempt);
      this.wake();
    });
    this.#running.set(attempt, { destination: leased.destination, done });
  }

  async #carryOut(attempt: Attempt<Payload>, leased: Leased): Promise<void> {
    const startedAtMs = performance.now();
    const { last, deaths } = leased.message;
    const outcome = last && deaths >= MANY_DEATHS ? DEADLY : await attempt.run();
    const durationMs = performance.now() - startedAtMs;
    this.ports.metrics.attempted(this.queue, outcome.tag, durationMs);
    const next = attempt.stopped && outcome.tag === 'retry' ? RELEASED : await this.#nextAfter(leased, outcome);
    await this.#settle(leased, outcome, durationMs, next);
  }

  /** When the next attempt comes; undefined if there is none. */
  async #nextAfter({ message }: Leased, outcome: Outcome): Promise<NextAttempt | undefined> {
    if (outcome.tag === 'delivered') return undefined;
    const afterMs = outcome.tag === 'retry' ? (outcome.afterMs ?? 0) : 0;
    const next = { inMs: Math.max(backOffMs(this.#pace, message.attempt - 1, Math.random()), afterMs) };
    if (outcome.tag === 'retry' && !message.last) return next;
    const { id: messageId, payload } = message;
    try {
      const known = this.handler.schema.safeParse(payload);
      if (known.success) await this.handler.dead?.({ ...message, payload: known.data }, outcome);
    } catch (err) {
      this.ports.log.error({ err, messageId, queue: this.queue }, 'a message that should be dead stays waiting');
      return next;
    }
    const { words } = outcome;
    this.ports.log.warn({ messageId, queue: this.queue, words }, 'a message is dead until it is replayed');
    return undefined;
  }

  /** Tries until the database has the outcome, because otherwise the message would be delivered again. */
  async #settle(leased: Leased, outcome: Outcome, durationMs: number, next: NextAttempt | undefined): Promise<void> {
    for (let failures = 0; ; failures++) {
      try {
        return await this.ports.store.settle(leased, outcome, durationMs, next);
      } catch (err) {
        const { id: messageId } = leased.message;
        if (failures === 0) this.ports.log.warn({ err, messageId }, 'the end of an attempt can’t be stored yet');
        if (this.#closing.signal.aborted) return;
        await this.#pause(backOffMs(DATABASE_PACE, failures, Math.random()), this.#closing.signal);
      }
    }
  }

  async #pause(ms: number, signal: AbortSignal): Promise<void> {
    await sleep(ms, undefined, { signal }).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
  }
}

const RELEASED: NextAttempt = { inMs: 0, uncounted: true };
const DEADLY: Outcome = { tag: 'dead', words: 'the instances that tried it ended' };
