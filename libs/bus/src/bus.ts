import type { DescMessage, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { Caller, type CallOptions } from './caller.js';
import { Connection } from './connection.js';
import { EventHub, type EventHandler, type SubscribeOptions } from './event-hub.js';
import { Jobs, type EnqueueOptions, type Enqueued, type JobHandler, type WorkOptions } from './jobs.js';
import { type BusLog, stderrLog } from './log.js';
import type { Registration } from './registration.js';
import type { Method } from './route.js';
import { RequestServer, type RequestHandler, type ServeOptions } from './request-server.js';

export interface BusOptions {
  /** `nats://[user:password@]host:port`, several separated by commas. */
  readonly url: string;
  /** The service's name, as in `services/<name>`. */
  readonly service: string;
  /** Unique for every start of a process. */
  readonly instanceId: string;
  readonly user?: string | undefined;
  readonly password?: string | undefined;
  /** Default: JSON lines on standard error, warnings and errors only. */
  readonly log?: BusLog;
  /** Gives up waiting for the first connection. */
  readonly signal?: AbortSignal;
  /** Between the pings that find a dead connection; two unanswered ones end it. Default 5000. */
  readonly pingIntervalMs?: number;
}

/**
 * The control plane, typed by the contract. How a method travels (to any instance, to an owner, as an event, as a durable
 * job) and how long it may take are options of the method in `proto/`. Using a method in another way throws a
 * BusMisuseError at once; every other failure is a WeirError.
 */
export class Bus {
  readonly service: string;
  readonly instanceId: string;
  readonly #connection: Connection;
  readonly #caller: Caller;
  readonly #server: RequestServer;
  readonly #events: EventHub;
  readonly #jobs: Jobs;
  #drained: Promise<void> | undefined;

  private constructor(options: BusOptions, connection: Connection, log: BusLog) {
    this.service = options.service;
    this.instanceId = options.instanceId;
    const ports = { connection, log, instanceId: options.instanceId };
    this.#connection = connection;
    this.#caller = new Caller(ports);
    this.#server = new RequestServer(ports);
    this.#events = new EventHub(ports);
    this.#jobs = new Jobs(ports);
  }

  /**
   * Waits for the first connection, then reconnects for ever, each time after a random delay.
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

  /** The listener isn't told the state at the time of the call. Returns how to stop listening. */
  onConnectionChange(listener: (connected: boolean) => void): () => void {
    return this.#connection.onChange(listener);
  }

  /**
   * Asks for something and waits for the reply, never longer than the deadline: the least of the contract's, the
   * caller's and the parent's.
   * @throws WeirError UNAVAILABLE when nobody serves the method or there is no connection; DEADLINE; INVALID when the
   *   request names no owner or is too large; or what the server threw.
   */
  call<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    request: MessageInitShape<I>,
    options: CallOptions = {},
  ): Promise<MessageShape<O>> {
    return this.#caller.call(method, request, options);
  }

  /**
   * Answers requests: a method for any instance shares them with the other instances that serve it; a method for an
   * owner gets those that name this bus's instanceId. A WeirError that the handler throws reaches the caller as it is;
   * anything else becomes INTERNAL and is told only to the log.
   */
  serve<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    handler: RequestHandler<I, O>,
    options: ServeOptions = {},
  ): Registration {
    return this.#server.serve(method, handler, options);
  }

  /**
   * Tells everybody who listens, or with an owner_field the instance that it names. Doesn't wait; an event told while
   * there is no connection is lost, as is one that nobody listens to.
   * @throws WeirError INVALID when the event names no owner or is too large.
   */
  publish<I extends DescMessage, O extends DescMessage>(method: Method<I, O>, event: MessageInitShape<I>): void {
    this.#events.publish(method, event);
  }

  /**
   * Hears every event of the method, or with an owner_field those for this bus's instanceId. The handler gets the events
   * of one sender in the order in which they were published. A promise that it returns isn't awaited before the next
   * event is handed over, unless `sequential` is set. A handler that throws is logged and gets the next event.
   */
  subscribe<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    handler: EventHandler<I>,
    options: SubscribeOptions = {},
  ): Registration {
    return this.#events.subscribe(method, handler, options);
  }

  /**
   * Hands over work that must survive its worker; resolves once it is stored. The same id is stored once within ten
   * minutes; later it may be stored again, so what the handler does must depend on the id alone.
   * @throws WeirError UNAVAILABLE or DEADLINE: the job may or may not be stored; enqueue it again with the same id.
   */
  enqueue<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    job: MessageInitShape<I>,
    options: EnqueueOptions,
  ): Promise<Enqueued> {
    return this.#jobs.enqueue(method, job, options);
  }

  /**
   * Does jobs. Each is given to one worker at a time and given again, after a growing delay, when the handler throws,
   * when the attempt takes longer than the method's deadline, or when the worker dies. A job may therefore run again
   * after it has succeeded (its acknowledgement was lost): **the handler must be idempotent by `context.id`**.
   */
  work<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    handler: JobHandler<I>,
    options: WorkOptions<I> = {},
  ): Registration {
    return this.#jobs.work(method, handler, options);
  }

  /** Resolves when the server has taken everything published, served and subscribed so far. */
  flush(): Promise<void> {
    return this.#connection.flush();
  }

  /**
   * Ends in order: takes nothing new; lets what runs finish, at most graceMs; sends what waits to be sent; closes the
   * connection. Calls can be made until the handlers have finished. Idempotent.
   */
  drain(options: { graceMs?: number } = {}): Promise<void> {
    this.#drained ??= this.#drain(options.graceMs ?? 10_000);
    return this.#drained;
  }

  async #drain(graceMs: number): Promise<void> {
    await this.#connection.closeAfter(
      Promise.all([this.#server.close(), this.#events.close(), this.#jobs.close()]),
      graceMs,
    );
  }
}
