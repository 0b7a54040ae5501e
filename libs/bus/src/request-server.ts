import { type DescMessage, type MessageInitShape, type MessageShape, toBinary } from '@bufbuild/protobuf';
import { ROOT_CONTEXT, propagation } from '@opentelemetry/api';
import { type Msg, headers as natsHeaders } from '@nats-io/transport-node';
import { ErrorCode, WeirError, isWeirError } from '@weir/contracts';
import type { Connection } from './connection.js';
import { Deadline } from './deadline.js';
import { BusMisuseError } from './errors.js';
import type { BusLog } from './log.js';
import type { Registration } from './registration.js';
import { type Method, type RequestRoute, messageOf, requestRoute, subjectOf } from './route.js';
import { Slots } from './slots.js';
import { inSpan } from './telemetry.js';
import { ERROR_HEADER, deadlineFrom, encodeError, headerGetter, decode } from './wire.js';

export interface CallContext {
  /** The full name, for example `weir.v1.Media.Publish`. */
  readonly method: string;
  /** How long the caller waits, measured from the arrival of the request. */
  readonly deadlineMs: number;
  /** The part of deadlineMs that is left, never below 0. */
  remainingMs(): number;
  /** Aborted at the deadline, when the caller no longer waits for the reply. */
  readonly signal: AbortSignal;
}

export type RequestHandler<I extends DescMessage, O extends DescMessage> = (
  request: MessageShape<I>,
  context: CallContext,
) => MessageInitShape<O> | Promise<MessageInitShape<O>>;

export interface ServeOptions {
  /**
   * The number of requests handled at a time. The others wait, and one whose deadline passes while it waits is dropped.
   * Default: no limit.
   */
  readonly concurrency?: number;
}

export class RequestServer {
  readonly #connection: Connection;
  readonly #log: BusLog;
  readonly #instanceId: string;
  readonly #served = new Map<string, Registration>();

  constructor(ports: { connection: Connection; log: BusLog; instanceId: string }) {
    this.#connection = ports.connection;
    this.#log = ports.log;
    this.#instanceId = ports.instanceId;
  }

  serve<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    handler: RequestHandler<I, O>,
    options: ServeOptions,
  ): Registration {
    const route = requestRoute(method, 'serve');
    if (this.#served.has(route.name)) throw new BusMisuseError(`${route.name} is served already`);
    const subject = subjectOf(route, route.tag === 'owner' ? this.#instanceId : undefined);
    const queue = route.tag === 'any' ? route.name : undefined;
    const slots = new Slots(options.concurrency ?? Number.POSITIVE_INFINITY);
    const stop = this.#connection.subscribe(subject, queue, (message) => {
      const deadline = new Deadline(Math.min(deadlineFrom(message.headers) ?? route.deadlineMs, MAX_DEADLINE_MS));
      void slots.run(() => this.#answer(method, route, handler, message, deadline)).finally(() => deadline.close());
    });
    let closed: Promise<void> | undefined;
    const registration: Registration = {
      close: () => {
        closed ??= (async () => {
          // Requests that have reached this process are still answered.
          await stop();
          await slots.idle();
          this.#served.delete(route.name);
        })();
        return closed;
      },
    };
    this.#served.set(route.name, registration);
    return registration;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#served.values()].map((registration) => registration.close()));
  }

  /** Never throws: every failure becomes the reply. */
  async #answer<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    route: RequestRoute,
    handler: RequestHandler<I, O>,
    message: Msg,
    deadline: Deadline,
  ): Promise<void> {
    if (deadline.remainingMs() === 0) {
      this.#log.warn({ method: route.name }, 'a request was dropped: its deadline passed before a slot was free');
      return;
    }
    const parent = propagation.extract(ROOT_CONTEXT, message.headers, headerGetter);
    try {
      const data = await inSpan(route.name, 'server', parent, async () => {
        const request = readRequest(method.input, message.data, route.name);
        const reply = await handler(request, callContext(route, deadline));
        const bytes = toBinary(method.output, messageOf(method.output, reply));
        this.#connection.checkSize(bytes, natsHeaders(), `${route.name}'s reply`, ErrorCode.INTERNAL);
        return bytes;
      });
      this.#respond(message, data, false, route);
    } catch (error) {
      if (!isWeirError(error) || error.code === ErrorCode.INTERNAL)
        this.#log.error({ method: route.name, error }, 'a handler failed');
      this.#respond(message, encodeError(error), true, route);
    }
  }

  #respond(message: Msg, data: Uint8Array, isError: boolean, route: RequestRoute): void {
    const headers = natsHeaders();
    if (isError) headers.set(ERROR_HEADER, '1');
    try {
      message.respond(data, { headers });
    } catch (error) {
      this.#log.warn({ method: route.name, error }, 'sending a reply failed');
    }
  }
}

/** A week; timers can't wait longer than 24 days. */
const MAX_DEADLINE_MS = 7 * 24 * 3_600_000;

const callContext = (route: RequestRoute, deadline: Deadline): CallContext => ({
  method: route.name,
  deadlineMs: deadline.grantedMs,
  remainingMs: () => deadline.remainingMs(),
  signal: deadline.signal,
});

function readRequest<I extends DescMessage>(schema: I, data: Uint8Array, name: string): MessageShape<I> {
  try {
    return decode(schema, data);
  } catch (cause) {
    throw new WeirError(ErrorCode.INVALID, `${name}: the request can't be read`, {}, { cause });
  }
}
