import { type DescMessage, type MessageInitShape, type MessageShape, toBinary } from '@bufbuild/protobuf';
import { type Context, ROOT_CONTEXT, context as contexts, propagation } from '@opentelemetry/api';
import { type Msg, headers as natsHeaders } from '@nats-io/transport-node';
import type { Connection } from './connection.js';
import type { BusLog } from './log.js';
import type { Registration } from './registration.js';
import { type EventRoute, type Method, eventRoute, messageOf, ownerOf, subjectOf } from './route.js';
import { Slots } from './slots.js';
import { inSpan } from './telemetry.js';
import { headerGetter, headerSetter, decode } from './wire.js';

export interface EventContext {
  /** The full name, for example `weir.v1.MediaEvents.StreamChanged`. */
  readonly method: string;
}

export type EventHandler<I extends DescMessage> = (
  event: MessageShape<I>,
  context: EventContext,
) => void | Promise<void>;

export interface SubscribeOptions {
  /** Whether the next event waits for the promise that the handler returned. Default false. */
  readonly sequential?: boolean;
}

export class EventHub {
  readonly #connection: Connection;
  readonly #log: BusLog;
  readonly #instanceId: string;
  readonly #subscribed = new Set<Registration>();

  constructor(ports: { connection: Connection; log: BusLog; instanceId: string }) {
    this.#connection = ports.connection;
    this.#log = ports.log;
    this.#instanceId = ports.instanceId;
  }

  publish<I extends DescMessage, O extends DescMessage>(method: Method<I, O>, init: MessageInitShape<I>): void {
    const route = eventRoute(method, 'publish');
    const event = messageOf(method.input, init);
    const subject = subjectOf(route, ownerOf(route, method.input, event));
    inSpanOf(route, 'producer', contexts.active(), () => {
      const headers = natsHeaders();
      propagation.inject(contexts.active(), headers, headerSetter);
      const sent = this.#connection.send(subject, toBinary(method.input, event), headers, route.name);
      if (!sent) this.#log.debug({ method: route.name }, 'an event was lost: there is no connection to NATS');
    });
  }

  subscribe<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    handler: EventHandler<I>,
    options: SubscribeOptions,
  ): Registration {
    const route = eventRoute(method, 'subscribe');
    const subject = subjectOf(route, route.ownerField === undefined ? undefined : this.#instanceId);
    const slots = new Slots(options.sequential ? 1 : Number.POSITIVE_INFINITY);
    const stop = this.#connection.subscribe(subject, undefined, (message) => {
      void slots.run(() => this.#hand(method, route, handler, message));
    });
    let closed: Promise<void> | undefined;
    const registration: Registration = {
      close: () => {
        closed ??= (async () => {
          await stop();
          await slots.idle();
          this.#subscribed.delete(registration);
        })();
        return closed;
      },
    };
    this.#subscribed.add(registration);
    return registration;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#subscribed].map((registration) => registration.close()));
  }

  /** Never throws: a handler's failure affects nothing else. */
  async #hand<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    route: EventRoute,
    handler: EventHandler<I>,
    message: Msg,
  ): Promise<void> {
    const parent = propagation.extract(ROOT_CONTEXT, message.headers, headerGetter);
    try {
      await inSpanOf(route, 'consumer', parent, async () => {
        await handler(decode(method.input, message.data), { method: route.name });
      });
    } catch (error) {
      this.#log.error({ method: route.name, error }, 'an event handler failed');
    }
  }
}

/** Like `inSpan`, but makes no span for events that are too frequent to be traced. */
const inSpanOf = <Result>(
  route: EventRoute,
  kind: 'producer' | 'consumer',
  parent: Context,
  work: () => Result,
): Result => (route.traced ? inSpan(route.name, kind, parent, work) : work());
