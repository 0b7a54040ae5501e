import { setTimeout as sleep } from 'node:timers/promises';
import { type DescMessage, type MessageInitShape, type MessageShape, toBinary } from '@bufbuild/protobuf';
import { headers as natsHeaders } from '@nats-io/transport-node';
import { context as contexts, propagation } from '@opentelemetry/api';
import { ErrorCode, WeirError } from '@weir/contracts';
import { type Connection, nobodyServes } from './connection.js';
import { JobStreams } from './job-streams.js';
import { JobWorker } from './job-worker.js';
import type { BusLog } from './log.js';
import type { Registration } from './registration.js';
import { type JobRoute, type Method, jobRoute, messageOf, subjectOf } from './route.js';
import { inSpan } from './telemetry.js';
import { JOB_ID_HEADER, headerSetter } from './wire.js';

export interface EnqueueOptions {
  /** Names the job: what is enqueued again with the id of a job is the same job. */
  readonly id: string;
  /** Within which the job is stored or an error is thrown. Default 5000. */
  readonly deadlineMs?: number;
}

export interface Enqueued {
  /** A job with this id had been stored before; nothing was added. */
  readonly duplicate: boolean;
}

export interface JobContext {
  /** Full name, as in `weir.v1.Recording.Deliver`. */
  readonly method: string;
  readonly id: string;
  /** 1 for the first. Attempts that ended with their worker's death count. */
  readonly attempt: number;
  readonly maxAttempts: number;
  /** What one attempt may take. */
  readonly deadlineMs: number;
  remainingMs(): number;
  /** Aborted when the attempt has taken too long; then the job is given again. */
  readonly signal: AbortSignal;
}

export type JobHandler<I extends DescMessage> = (job: MessageShape<I>, context: JobContext) => void | Promise<void>;

export interface DeadJob<I extends DescMessage> {
  readonly id: string;
  /** Undefined if it can't be read. */
  readonly job: MessageShape<I> | undefined;
  readonly attempts: number;
  /** Why the last attempt failed, as the log may know it. */
  readonly reason: string;
}

export interface WorkOptions<I extends DescMessage> {
  /** How many jobs run at a time in this process. Default 1. */
  readonly concurrency?: number;
  /** After as many attempts without success a job is dead. Default 10. */
  readonly maxAttempts?: number;
  /** Before the second attempt; doubles with each further one, up to retryMaxMs, give or take a fifth. Default 1000. */
  readonly retryMinMs?: number;
  /** Default 60000. */
  readonly retryMaxMs?: number;
  /** Told of each dead job, at least once, after it has been stored with the dead jobs (kept for 30 days). */
  readonly onDead?: (dead: DeadJob<I>) => void | Promise<void>;
}

const ENQUEUE_DEADLINE_MS = 5_000;
/**
 * Nobody takes what is published for a stream that NATS has lost, which is made again, or that another instance is just
 * making: NATS says that it exists a moment before it listens.
 */
const STORE_AGAIN_AFTER_MS = [0, 20, 80, 320];

export class Jobs {
  readonly #connection: Connection;
  readonly #log: BusLog;
  readonly #streams: JobStreams;
  readonly #workers = new Set<Registration>();

  constructor(ports: { connection: Connection; log: BusLog }) {
    this.#connection = ports.connection;
    this.#log = ports.log;
    this.#streams = new JobStreams(ports.connection);
  }

  enqueue<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    init: MessageInitShape<I>,
    options: EnqueueOptions,
  ): Promise<Enqueued> {
    const route = jobRoute(method, 'enqueue');
    return inSpan(route.name, 'producer', contexts.active(), async () => {
      if (!VALID_ID.test(options.id))
        throw new WeirError(ErrorCode.INVALID, `${route.name}: the job's id can't be used`);
      const data = toBinary(method.input, messageOf(method.input, init));
      for (let attempt = 1; ; attempt++) {
        try {
          return await this.#store(route, data, options);
        } catch (error) {
          if (attempt > STORE_AGAIN_AFTER_MS.length || !nobodyServes(error)) throw error;
          this.#streams.forget();
          await sleep(STORE_AGAIN_AFTER_MS[attempt - 1]);
        }
      }
    });
  }

  work<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    handler: JobHandler<I>,
    options: WorkOptions<I>,
  ): Registration {
    const route = jobRoute(method, 'work');
    const worker = new JobWorker({
      connection: this.#connection,
      log: this.#log,
      streams: this.#streams,
      route,
      schema: method.input,
      handler,
      options,
    });
    const registration: Registration = {
      close: async () => {
        await worker.close();
        this.#workers.delete(registration);
      },
    };
    this.#workers.add(registration);
    return registration;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#workers].map((worker) => worker.close()));
  }

  #store(
    route: JobRoute,
    data: Uint8Array,
    { id, deadlineMs = ENQUEUE_DEADLINE_MS }: EnqueueOptions,
  ): Promise<Enqueued> {
    return this.#connection.whileConnected(`${route.name}'s queue`, async () => {
      await this.#streams.makeJobs(route);
      const headers = natsHeaders();
      headers.set(JOB_ID_HEADER, id);
      propagation.inject(contexts.active(), headers, headerSetter);
      this.#connection.checkSize(data, headers, route.name);
      const { duplicate } = await this.#streams.jetStream.publish(subjectOf(route), data, {
        // The stream is shared by the service's methods, their ids aren't.
        msgID: `${route.name} ${id}`,
        headers,
        timeout: deadlineMs,
      });
      return { duplicate };
    });
  }
}

/** Fits into a header line as it is. */
const VALID_ID = /^[\x21-\x7e]{1,512}$/;
