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
  /** Names the job: enqueueing the same id again means the same job. */
  readonly id: string;
  /** The time in which the job must be stored; otherwise an error is thrown. Default 5000. */
  readonly deadlineMs?: number;
}

export interface Enqueued {
  /** Whether a job with this id was stored before, so that nothing was added. */
  readonly duplicate: boolean;
}

export interface JobContext {
  /** The full name, for example `weir.v1.Recording.Deliver`. */
  readonly method: string;
  readonly id: string;
  /** 1 for the first. Attempts during which the worker died count too. */
  readonly attempt: number;
  readonly maxAttempts: number;
  /** The time limit of one attempt. */
  readonly deadlineMs: number;
  remainingMs(): number;
  /** Aborted when the attempt takes too long; the job is then delivered again. */
  readonly signal: AbortSignal;
}

export type JobHandler<I extends DescMessage> = (job: MessageShape<I>, context: JobContext) => void | Promise<void>;

export interface DeadJob<I extends DescMessage> {
  readonly id: string;
  /** Undefined if the payload can't be decoded. */
  readonly job: MessageShape<I> | undefined;
  readonly attempts: number;
  /** Why the last attempt failed. Made for the log, not for clients. */
  readonly reason: string;
}

export interface WorkOptions<I extends DescMessage> {
  /** The number of jobs that run at a time in this process. Default 1. */
  readonly concurrency?: number;
  /** A job is dead after this many failed attempts. Default 10. */
  readonly maxAttempts?: number;
  /** The delay before the second attempt. It doubles with each attempt up to retryMaxMs, ± a fifth. Default 1000. */
  readonly retryMinMs?: number;
  /** Default 60000. */
  readonly retryMaxMs?: number;
  /** Called for each dead job at least once, after the job was stored with the dead jobs (kept for 30 days). */
  readonly onDead?: (dead: DeadJob<I>) => void | Promise<void>;
}

const ENQUEUE_DEADLINE_MS = 5_000;
/**
 * A job finds no stream when NATS has lost it, and it must be created again. It also finds none for a moment while
 * another instance creates it: NATS says that a stream exists a little before it stores messages.
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
        throw new WeirError(ErrorCode.INVALID, `${route.name}: a job's id has 1 to 512 visible ASCII characters`);
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
        // The service's methods share the stream, but each has its own ids.
        msgID: `${route.name} ${id}`,
        headers,
        timeout: deadlineMs,
      });
      return { duplicate };
    });
  }
}

/** Text that fits into a header line unchanged. */
const VALID_ID = /^[\x21-\x7e]{1,512}$/;
