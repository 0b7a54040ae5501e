import { type DescMessage, type MessageInitShape, type MessageShape, toBinary } from '@bufbuild/protobuf';
import { context as contexts, propagation } from '@opentelemetry/api';
import { headers as natsHeaders } from '@nats-io/transport-node';
import { ErrorCode, WeirError } from '@weir/contracts';
import type { Connection } from './connection.js';
import { type Method, messageOf, ownerOf, requestRoute, subjectOf } from './route.js';
import { type CallTimer, callTimer, inSpan, outcomeOf } from './telemetry.js';
import { DEADLINE_HEADER, ERROR_HEADER, decodeError, headerSetter, decode } from './wire.js';

export interface CallOptions {
  /** Shortens the method's deadline; it can't extend it. */
  readonly deadlineMs?: number;
  /** The request that the call is part of: the call doesn't outlast it. */
  readonly parent?: { remainingMs(): number };
}

export class Caller {
  readonly #connection: Connection;
  readonly #timer: CallTimer;

  constructor(ports: { connection: Connection }) {
    this.#connection = ports.connection;
    this.#timer = callTimer();
  }

  /** Throws BusMisuseError synchronously; every other failure rejects the promise. */
  call<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    init: MessageInitShape<I>,
    options: CallOptions,
  ): Promise<MessageShape<O>> {
    const route = requestRoute(method, 'call');
    return inSpan(route.name, 'client', contexts.active(), async () => {
      const startedAtMs = performance.now();
      let outcome = 'ok';
      try {
        const request = messageOf(method.input, init);
        const subject = subjectOf(route, ownerOf(route, method.input, request));
        const deadlineMs = Math.min(
          route.deadlineMs,
          options.deadlineMs ?? Number.POSITIVE_INFINITY,
          options.parent?.remainingMs() ?? Number.POSITIVE_INFINITY,
        );
        const reply = await this.#exchange(route.name, subject, toBinary(method.input, request), deadlineMs);
        return readReply(method.output, reply, route.name);
      } catch (error) {
        outcome = outcomeOf(error);
        throw error;
      } finally {
        this.#timer.record(route.name, outcome, performance.now() - startedAtMs);
      }
    });
  }

  async #exchange(name: string, subject: string, data: Uint8Array, deadlineMs: number): Promise<Uint8Array> {
    if (deadlineMs <= 0) throw new WeirError(ErrorCode.DEADLINE, `${name}: the deadline had passed before the call`);
    const headers = natsHeaders();
    headers.set(DEADLINE_HEADER, String(Math.max(1, Math.floor(deadlineMs))));
    propagation.inject(contexts.active(), headers, headerSetter);
    const reply = await this.#connection.request(subject, data, headers, deadlineMs, name);
    if (reply.headers?.has(ERROR_HEADER)) throw decodeError(reply.data);
    return reply.data;
  }
}

function readReply<O extends DescMessage>(schema: O, data: Uint8Array, name: string): MessageShape<O> {
  try {
    return decode(schema, data);
  } catch (cause) {
    throw new WeirError(ErrorCode.INTERNAL, `${name}: the reply can't be read`, {}, { cause });
  }
}
