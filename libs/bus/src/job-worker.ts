import { setTimeout as sleep } from 'node:timers/promises';
import { type DescMessage, type MessageShape } from '@bufbuild/protobuf';
import type { ConsumerMessages, JsMsg } from '@nats-io/jetstream';
import { headers as natsHeaders } from '@nats-io/transport-node';
import { ROOT_CONTEXT, propagation } from '@opentelemetry/api';
import { ErrorCode, WeirError, isWeirError } from '@weir/contracts';
import { backOffMs } from '@weir/timing';
import type { Connection } from './connection.js';
import { Deadline } from './deadline.js';
import type { JobStreams } from './job-streams.js';
import type { JobHandler, WorkOptions } from './jobs.js';
import type { BusLog } from './log.js';
import { type JobRoute, deadSubjectOf } from './route.js';
import { inSpan } from './telemetry.js';
import { DEAD_REASON_HEADER, JOB_ID_HEADER, headerGetter, decode } from './wire.js';

interface JobWorkerPorts<I extends DescMessage> {
  readonly connection: Connection;
  readonly log: BusLog;
  readonly streams: JobStreams;
  readonly route: JobRoute;
  readonly schema: I;
  readonly handler: JobHandler<I>;
  readonly options: WorkOptions<I>;
}

/** One pull waits this long for a job; its heartbeats, twice as frequent, detect a server that has forgotten it. */
const PULL_EXPIRES_MS = 10_000;
const PAUSE_AFTER_FAILURE_MS = 500;
const DEFAULTS = { concurrency: 1, maxAttempts: 10, retryMinMs: 1_000, retryMaxMs: 60_000 };

/** Takes one job at a time for each slot, because a job that waits in this process uses up its attempt's time. */
export class JobWorker<I extends DescMessage> {
  readonly #ports: JobWorkerPorts<I>;
  readonly #limits: typeof DEFAULTS;
  readonly #closing = new AbortController();
  readonly #pulls = new Set<ConsumerMessages>();
  readonly #loops: Promise<void>[];

  constructor(ports: JobWorkerPorts<I>) {
    this.#ports = ports;
    const { concurrency, maxAttempts, retryMinMs, retryMaxMs } = ports.options;
    this.#limits = {
      concurrency: concurrency ?? DEFAULTS.concurrency,
      maxAttempts: maxAttempts ?? DEFAULTS.maxAttempts,
      retryMinMs: retryMinMs ?? DEFAULTS.retryMinMs,
      retryMaxMs: retryMaxMs ?? DEFAULTS.retryMaxMs,
    };
    this.#loops = Array.from({ length: this.#limits.concurrency }, () => this.#loop());
  }

  /** Resolves when the running attempts have ended. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort();
    for (const pull of this.#pulls) pull.stop();
    await Promise.all(this.#loops);
  }

  async #loop(): Promise<void> {
    const { connection, log, route, streams } = this.#ports;
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        await this.#pullOne();
      } catch (error) {
        streams.forget();
        if (connection.connected) log.warn({ method: route.name, error }, 'fetching jobs failed');
        // The sleep rejects only when the worker is closed.
        await sleep(PAUSE_AFTER_FAILURE_MS * (1 + Math.random()), undefined, { signal }).catch(() => undefined);
      }
    }
  }

  async #pullOne(): Promise<void> {
    const { connection, route, streams } = this.#ports;
    const pull = await connection.whileConnected(`${route.name}'s queue`, async () => {
      const consumer = await streams.makeConsumer(route);
      return consumer.fetch({ max_messages: 1, expires: PULL_EXPIRES_MS });
    });
    this.#pulls.add(pull);
    try {
      if (this.#closing.signal.aborted) pull.stop();
      for await (const message of pull) await this.#attempt(message);
    } finally {
      this.#pulls.delete(pull);
    }
  }

  /** Never throws: a job that isn't acknowledged is delivered again. */
  async #attempt(message: JsMsg): Promise<void> {
    const { log, route } = this.#ports;
    const id = message.headers?.get(JOB_ID_HEADER) ?? '';
    const attempt = message.info.deliveryCount;
    const { maxAttempts } = this.#limits;
    try {
      // Its worker died during the last attempt.
      if (attempt > maxAttempts) return await this.#bury(message, id, maxAttempts, 'its workers died');
      let job: MessageShape<I>;
      try {
        job = decode(this.#ports.schema, message.data);
      } catch {
        return await this.#bury(message, id, attempt, "it can't be read");
      }
      try {
        await this.#run(job, message, id, attempt);
        message.ack();
      } catch (error) {
        log.warn({ method: route.name, id, attempt, maxAttempts, error }, 'an attempt at a job failed');
        if (attempt >= maxAttempts) await this.#bury(message, id, attempt, reasonOf(error));
        else message.nak(this.#retryDelayMs(attempt));
      }
    } catch (error) {
      log.warn({ method: route.name, id, attempt, error }, 'the outcome of a job is unknown; it is delivered again');
    }
  }

  #run(job: MessageShape<I>, message: JsMsg, id: string, attempt: number): Promise<void> {
    const { handler, route } = this.#ports;
    const parent = propagation.extract(ROOT_CONTEXT, message.headers, headerGetter);
    return inSpan(route.name, 'consumer', parent, async () => {
      const deadline = new Deadline(route.deadlineMs);
      const tooLate = new Promise<never>((_resolve, reject) => {
        deadline.signal.addEventListener('abort', () =>
          reject(new WeirError(ErrorCode.DEADLINE, `${route.name}: the attempt took too long`)),
        );
      });
      const context = {
        method: route.name,
        id,
        attempt,
        maxAttempts: this.#limits.maxAttempts,
        deadlineMs: deadline.grantedMs,
        remainingMs: () => deadline.remainingMs(),
        signal: deadline.signal,
      };
      try {
        await Promise.race([(async () => handler(job, context))(), tooLate]);
      } finally {
        deadline.close();
      }
    });
  }

  /** Stores the job with the dead jobs, calls `onDead`, and takes the job out of the queue, in this order. */
  async #bury(message: JsMsg, id: string, attempts: number, reason: string): Promise<void> {
    const { log, options, route, schema, streams } = this.#ports;
    log.error({ method: route.name, id, attempts, reason }, 'a job is dead');
    const headers = natsHeaders();
    headers.set(JOB_ID_HEADER, id);
    headers.set(DEAD_REASON_HEADER, reason.replace(/\s+/g, ' '));
    await streams.jetStream.publish(deadSubjectOf(route), message.data, {
      // Makes one dead job of each enqueued one, however often it is buried.
      msgID: `${route.name} ${message.info.streamSequence}`,
      headers,
    });
    try {
      let job: MessageShape<I> | undefined;
      try {
        job = decode(schema, message.data);
      } catch {
        job = undefined;
      }
      await options.onDead?.({ id, job, attempts, reason });
    } catch (error) {
      log.error({ method: route.name, id, error }, 'the handler for dead jobs failed');
    }
    message.term();
  }

  #retryDelayMs(attempt: number): number {
    const { retryMinMs, retryMaxMs } = this.#limits;
    return backOffMs({ firstMs: retryMinMs, maxMs: retryMaxMs }, attempt - 1, Math.random());
  }
}

const reasonOf = (error: unknown): string =>
  isWeirError(error)
    ? `${ErrorCode[error.code]}: ${error.message}`
    : error instanceof Error
      ? error.message
      : String(error);
