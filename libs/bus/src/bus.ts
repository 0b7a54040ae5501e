import type { DescMessage, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { Caller, type CallOptions } from './caller.js';
import { Connection } from './connection.js';
import { EventHub, type EventHandler, type SubscribeOptions } from './event-hub.js';
import { type BusLog, stderrLog } from './log.js';
import type { Registration } from './registration.js';
import type { Method } from './route.js';
import { RequestServer, type RequestHandler, type ServeOptions } from './request-server.js';

export interface BusOptions {
  /** `nats://[user:password@]host:port`; several are separated by commas. */
  readonly url: string;
  /** The service's name: its folder in `services/`. */
  readonly service: string;
  /** Unique for each start of a process. */
  readonly instanceId: string;
  readonly user?: string | undefined;
  readonly password?: string | undefined;
  /** Default: JSON lines on standard error, warnings and errors only. */
  readonly log?: BusLog;
  /** Ends the wait for the first connection. */
  readonly signal?: AbortSignal;
  /** The interval of the pings that detect a dead connection; two unanswered ones end it. Default 5000. */
  readonly pingIntervalMs?: number;
}

/**
 * The control plane, typed by the contract. The options of each method in `proto/` set how it travels (to any instance,
 * to an owner, as an event) and how long it may take. Using a method in another way throws a
 * BusMisuseError at once; every other failure is a WeirError.
 */
export class Bus {
  readonly service: string;
  readonly instanceId: string;
  readonly #connection: Connection;
  readonly #caller: Caller;
  readonly #server: RequestServer;
  readonly #events: EventHub;
  #drained: Promise<void> | undefined;

  private constructor(options: BusOptions, connection: Connection, log: BusLog) {
    this.service = options.service;
    this.instanceId = options.instanceId;
    const ports = { connection, log, instanceId: options.instanceId };
    this.#connection = connection;
    this.#caller = new Caller(ports);
    this.#server = new RequestServer(ports);
    this.#events = new EventHub(ports);
  }

  /**
   * Waits for the first connection. Later the bus reconnects whenever the connection is lost, after a random delay.
   * @throws WeirError UNAUTHENTICATED when the server refuses the credentials of the first connection.
   */
  static async connect(options: BusOptions): Promise<Bus> {
    const log = options.log ?? stderrLog;
    const connection = await Connection.open({
      url: options.url,
      name: `${options.service} ${options.instanceId}`,
      user: options.user,
      password: options.password,
      pingIntervalMs: options.pingIntervalMs ?? 5_000,
      signal: options.signal,
      log,
    });
    return new Bus(options, connection, log);
  }

  get connected(): boolean {
    return this.#connection.connected;
  }

  /** Calls the listener at each later change, not with the present state. Returns a function that stops this. */
  onConnectionChange(listener: (connected: boolean) => void): () => void {
    return this.#connection.onChange(listener);
  }

  /**
   * Sends a request and waits for the reply, at most until the deadline: the shortest of the contract's, the caller's
   * and the parent's.
   * @throws WeirError UNAVAILABLE when no instance serves the method or there is no connection; DEADLINE; INVALID when
   *   the request names no owner or is too large; or the error that the server threw.
   */
  call<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    request: MessageInitShape<I>,
    options: CallOptions = {},
  ): Promise<MessageShape<O>> {
    return this.#caller.call(method, request, options);
  }

  /**
   * Answers requests. All instances that serve a method for any instance share its requests; a method for an owner gets
   * those that name this bus's instanceId. A WeirError that the handler throws reaches the caller unchanged; any other
   * error becomes INTERNAL, and only the log has its details.
   */
  serve<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    handler: RequestHandler<I, O>,
    options: ServeOptions = {},
  ): Registration {
    return this.#server.serve(method, handler, options);
  }

  /**
   * Sends an event to all subscribers or, if the method has an owner_field, to the instance that it names. It doesn't
   * wait. An event without a subscriber is lost, and so is one that is published while there is no connection.
   * @throws WeirError INVALID when the event names no owner or is too large.
   */
  publish<I extends DescMessage, O extends DescMessage>(method: Method<I, O>, event: MessageInitShape<I>): void {
    this.#events.publish(method, event);
  }

  /**
   * Receives every event of the method or, if it has an owner_field, those for this bus's instanceId. The handler gets
   * the events of one sender in the order in which they were published. The next event doesn't wait for a promise that
   * the handler returns, unless `sequential` is set. If the handler throws, the error is logged and the next event
   * follows.
   */
  subscribe<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    handler: EventHandler<I>,
    options: SubscribeOptions = {},
  ): Registration {
    return this.#events.subscribe(method, handler, options);
  }

  /** Resolves when the NATS server has processed everything sent so far, subscriptions included. */
  flush(): Promise<void> {
    return this.#connection.flush();
  }

  /**
   * Closes the bus in this order: it accepts nothing new; waits for running handlers, at most graceMs; sends what is
   * queued; closes the connection. Handlers can make calls until they have finished. Idempotent.
   */
  drain(options: { graceMs?: number } = {}): Promise<void> {
    this.#drained ??= this.#drain(options.graceMs ?? 10_000);
    return this.#drained;
  }

  async #drain(graceMs: number): Promise<void> {
    await this.#connection.closeAfter(Promise.all([this.#server.close(), this.#events.close()]), graceMs);
  }
}
