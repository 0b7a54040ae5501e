import type { Logger } from '@weir/platform';
import { OutboxMetrics, type QueueCount } from './metrics.js';
import type {
  Attempt,
  ListedMessage,
  ListFilter,
  LoggedMessage,
  NewMessage,
  Replayed,
  ReplayOptions,
} from './message.js';
import { MessageStore, type Transaction } from './message-store.js';
import { QueueWorker, type QueueHandler } from './queue-worker.js';

export interface OutboxOptions {
  /** `postgresql://user:password@host:port/database`: the database in which the owner has its own tables. */
  readonly url: string;
  /** The owner's name in lower-case letters, digits and `_`. The tables are in the schema `<owner>_outbox`. */
  readonly owner: string;
  /** The id of this start of the process. */
  readonly instance: string;
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
  /** For how long a message is tried. Default 72 h. */
  readonly keepTryingMs?: number;
  /** How long delivered and dead messages stay in the list. Default 30 days. */
  readonly keepEndedMs?: number;
  /** How often to look for messages that other instances have added. Default 1 s. */
  readonly pollMs?: number;
  /** How long attempts in progress may take when the outbox closes. Default 5 s. */
  readonly closeGraceMs?: number;
  readonly maxConnections?: number;
}

const HOUR_MS = 3_600_000;
const KEEP_TRYING_MS = 72 * HOUR_MS;
const KEEP_ENDED_MS = 30 * 24 * HOUR_MS;
const POLL_MS = 1_000;
const CLOSE_GRACE_MS = 5_000;
const MAX_CONNECTIONS = 5;
const UPKEEP_MS = 30_000;

/**
 * What must be delivered at least once, in PostgreSQL. A message is written in the owner's transaction, together with
 * the change that it reports. Any number of instances deliver; a message has one id for ever; messages with one key
 * keep their order; see README.md.
 */
export class Outbox {
  readonly #workers = new Map<string, Pick<QueueWorker<unknown>, 'wake' | 'close'>>();
  readonly #upkeep: NodeJS.Timeout;
  readonly #metrics = new OutboxMetrics();
  #counts: readonly QueueCount[] = [];

  private constructor(
    private readonly store: MessageStore,
    private readonly options: OutboxOptions,
  ) {
    this.#metrics.observe(() => this.#counts);
    this.#upkeep = setInterval(() => void this.#keepUp(), UPKEEP_MS);
  }

  /** Waits for the database and migrates the outbox's tables. */
  static async open(options: OutboxOptions): Promise<Outbox> {
    const { url, owner, instance, log } = options;
    const store = await MessageStore.open({
      ...{ url, owner, instance, log },
      keepTryingMs: options.keepTryingMs ?? KEEP_TRYING_MS,
      maxConnections: options.maxConnections ?? MAX_CONNECTIONS,
    });
    return new Outbox(store, options);
  }

  /**
   * Adds a message in the transaction of a Prisma client of the same database: it is delivered if and only if the
   * transaction commits. Call `wake` after that, so that it is delivered at once. A transaction that adds to several
   * keys does so in one order everywhere, because it holds each key until it ends.
   * @returns the message's id
   */
  add(transaction: Transaction, message: NewMessage): Promise<string> {
    return this.store.add(transaction, message);
  }

  /** Adds a message that reports no change, in a transaction of its own. */
  async addAlone(message: NewMessage): Promise<string> {
    const id = await this.store.addAlone(message);
    this.wake(message.queue);
    return id;
  }

  /** From now on this instance delivers the messages of the queue. */
  deliver<Payload>(queue: string, handler: QueueHandler<Payload>): void {
    if (this.#workers.has(queue)) throw new Error(`The queue ${queue} has a handler already`);
    const { store } = this;
    const ports = { store, log: this.options.log, metrics: this.#metrics, pollMs: this.options.pollMs ?? POLL_MS };
    this.#workers.set(queue, new QueueWorker(queue, handler, ports));
  }

  /** Looks at once for messages of the queue, or of every queue. */
  wake(queue?: string): void {
    if (queue === undefined) for (const worker of this.#workers.values()) worker.wake();
    else this.#workers.get(queue)?.wake();
  }

  list(filter: ListFilter = {}): Promise<ListedMessage[]> {
    return this.store.list(filter);
  }

  async get(id: string): Promise<ListedMessage | undefined> {
    return (await this.store.list({ ids: [id] }))[0];
  }

  /** The delivery log of a message: its last 200 attempts, oldest first. */
  async attempts(id: string): Promise<readonly Attempt[]> {
    return (await this.store.attempts([id])).get(id) ?? [];
  }

  /** The messages of the filter with their delivery logs. */
  async log(filter: ListFilter): Promise<LoggedMessage[]> {
    const messages = await this.store.list(filter);
    const logs = await this.store.attempts(messages.map(({ id }) => id));
    return messages.map((message) => ({ ...message, log: logs.get(message.id) ?? [] }));
  }

  /** Delivers a message again under its id, whether it was delivered, is dead or waits for its next attempt. */
  async replay(id: string, options: ReplayOptions = {}): Promise<Replayed> {
    const replayed = await this.store.replay(id, options);
    this.wake();
    return replayed;
  }

  ping(): Promise<void> {
    return this.store.ping();
  }

  /** Gives attempts in progress a grace time, then breaks them off. Idempotent. */
  async close(): Promise<void> {
    clearInterval(this.#upkeep);
    const workers = [...this.#workers.values()];
    await Promise.all(workers.map((worker) => worker.close(this.options.closeGraceMs ?? CLOSE_GRACE_MS)));
    await this.store.close();
  }

  async #keepUp(): Promise<void> {
    try {
      this.#counts = await this.store.counts();
      await this.store.purge(this.options.keepEndedMs ?? KEEP_ENDED_MS);
    } catch (err) {
      this.options.log.warn({ err }, 'the outbox could not be tidied up; trying again');
    }
  }
}
