import {
  AckPolicy,
  type Consumer,
  JetStreamApiError,
  type JetStreamClient,
  type JetStreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
  jetstream,
  jetstreamManager,
} from '@nats-io/jetstream';
import { nanos } from '@nats-io/transport-node';
import type { Connection } from './connection.js';
import type { JobRoute } from './route.js';

/** NATS' error codes (its server/errors.json). */
const STREAM_NOT_FOUND = 10059;
const STREAM_NAME_IN_USE = 10058;
const SUBJECTS_OVERLAP = 10065;
const DUPLICATE_WINDOW_MS = 10 * 60_000;
const DEAD_KEPT_MS = 30 * 24 * 3_600_000;
const DEAD_KEPT_MAX = 100_000;
/** Leaves an attempt that ends just in time some time to acknowledge, before the job goes to another worker. */
const ACK_MARGIN_MS = 1_000;
const MAX_ACK_PENDING = 1_000;

/**
 * Stores jobs: one stream for each service that has jobs, a second one for its dead jobs, and one consumer for each
 * method. They are created when first needed, changed when the contract changes, and created again if NATS loses them.
 */
export class JobStreams {
  readonly #connection: Connection;
  #jetStream: JetStreamClient | undefined;
  readonly #made = new Map<string, Promise<unknown>>();

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  get jetStream(): JetStreamClient {
    this.#jetStream ??= jetstream(this.#connection.nats);
    return this.#jetStream;
  }

  /** Creates the stream of the service's jobs. */
  async makeJobs(route: JobRoute): Promise<void> {
    await this.#once(`job ${route.service}`, async () => {
      await makeStream(await this.#manager(), {
        name: streamName('job', route),
        subjects: [`job.${route.service}.*`],
        retention: RetentionPolicy.Workqueue,
        storage: StorageType.File,
        duplicate_window: nanos(DUPLICATE_WINDOW_MS),
      });
    });
  }

  /** Creates everything that a worker of the method needs. */
  async makeConsumer(route: JobRoute): Promise<Consumer> {
    await this.makeJobs(route);
    await this.#once(`dead ${route.service}`, async () => {
      await makeStream(await this.#manager(), {
        name: streamName('dead', route),
        subjects: [`dead.${route.service}.*`],
        retention: RetentionPolicy.Limits,
        storage: StorageType.File,
        max_age: nanos(DEAD_KEPT_MS),
        max_msgs: DEAD_KEPT_MAX,
        duplicate_window: nanos(DUPLICATE_WINDOW_MS),
      });
    });
    const stream = streamName('job', route);
    const durable = route.name.slice(route.service.length + 1);
    await this.#once(`consumer ${route.name}`, async () => {
      const manager = await this.#manager();
      await manager.consumers.add(stream, {
        durable_name: durable,
        filter_subject: `job.${route.name}`,
        ack_policy: AckPolicy.Explicit,
        ack_wait: nanos(route.deadlineMs + ACK_MARGIN_MS),
        max_ack_pending: MAX_ACK_PENDING,
        // The workers count attempts, so that a job that kills its worker becomes a dead job instead of staying
        // undelivered.
        max_deliver: -1,
      });
    });
    return this.jetStream.consumers.get(stream, durable);
  }

  /** Streams and consumers may be gone: creates them again at the next use. */
  forget(): void {
    this.#made.clear();
  }

  #manager(): Promise<JetStreamManager> {
    return jetstreamManager(this.#connection.nats, { checkAPI: false });
  }

  async #once(key: string, make: () => Promise<void>): Promise<void> {
    let made = this.#made.get(key);
    if (made === undefined) {
      made = make();
      this.#made.set(key, made);
    }
    try {
      await made;
    } catch (error) {
      this.#made.delete(key);
      throw error;
    }
  }
}

/** Different for each service, because names in protobuf contain no hyphen. */
const streamName = (kind: 'job' | 'dead', route: JobRoute): string => `${kind}-${route.service.replaceAll('.', '-')}`;

async function makeStream(manager: JetStreamManager, config: Partial<StreamConfig> & { name: string }): Promise<void> {
  try {
    await manager.streams.add(config);
  } catch (error) {
    // When two instances create the stream at the same time, NATS may tell the later one that it overlaps with itself.
    if (!isApiError(error, STREAM_NAME_IN_USE, SUBJECTS_OVERLAP)) throw error;
    await manager.streams.update(config.name, config).catch((failure: unknown) => {
      throw isApiError(failure, STREAM_NOT_FOUND) ? error : failure;
    });
  }
}

const isApiError = (error: unknown, ...codes: number[]): boolean =>
  error instanceof JetStreamApiError && codes.includes(error.code);
