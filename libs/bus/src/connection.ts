import { setTimeout as sleep } from 'node:timers/promises';
import {
  AuthorizationError,
  type Msg,
  type MsgHdrs,
  type NatsConnection,
  RequestError,
  type Status,
  TimeoutError,
  connect,
} from '@nats-io/transport-node';
import { ErrorCode, isWeirError, WeirError } from '@weir/contracts';
import { within } from '@weir/timing';
import type { BusLog } from './log.js';

export interface ConnectionOptions {
  readonly url: string;
  readonly name: string;
  readonly user: string | undefined;
  readonly password: string | undefined;
  readonly pingIntervalMs: number;
  readonly signal: AbortSignal | undefined;
  readonly log: BusLog;
}

const RECONNECT_MIN_MS = 100;
const RECONNECT_MAX_MS = 1_000;
const HANDSHAKE_TIMEOUT_MS = 5_000;
const FLUSH_TIMEOUT_MS = 3_000;

const reconnectDelayMs = (): number => RECONNECT_MIN_MS + Math.random() * (RECONNECT_MAX_MS - RECONNECT_MIN_MS);

/** The one connection to NATS. While it is down, sending fails at once instead of waiting in a buffer. */
export class Connection {
  readonly nats: NatsConnection;
  readonly #log: BusLog;
  readonly #listeners = new Set<(connected: boolean) => void>();
  /** For each request that waits for its reply, the function that fails it. */
  readonly #waiting = new Set<(error: WeirError) => void>();
  #connected = true;
  #closing = false;

  private constructor(nats: NatsConnection, log: BusLog) {
    this.nats = nats;
    this.#log = log;
    void this.#follow(nats.status());
    void nats.closed().then((error) => this.#closed(error));
  }

  static async open(options: ConnectionOptions): Promise<Connection> {
    const { servers, user, password } = readUrl(options.url);
    for (let attempt = 1; ; attempt++) {
      options.signal?.throwIfAborted();
      try {
        const nats = await connect({
          servers,
          name: options.name,
          user: options.user ?? user,
          pass: options.password ?? password,
          timeout: HANDSHAKE_TIMEOUT_MS,
          maxReconnectAttempts: -1,
          // A restarted server may refuse all clients for a moment; by default the client would then give up for good.
          ignoreAuthErrorAbort: true,
          reconnectDelayHandler: reconnectDelayMs,
          pingInterval: options.pingIntervalMs,
          maxPingOut: 2,
          noAsyncTraces: true,
        });
        return new Connection(nats, options.log);
      } catch (error) {
        if (error instanceof AuthorizationError && !/timeout/i.test(error.message)) {
          throw new WeirError(ErrorCode.UNAUTHENTICATED, 'NATS refused the credentials', {}, { cause: error });
        }
        options.log.warn({ attempt, servers, error }, 'no connection to NATS yet');
        await sleep(reconnectDelayMs(), undefined, { signal: options.signal });
      }
    }
  }

  get connected(): boolean {
    return this.#connected;
  }

  /** False while the connection drains: it then sends only what is queued already. */
  get #usable(): boolean {
    return this.#connected && !this.nats.isDraining();
  }

  onChange(listener: (connected: boolean) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** @throws WeirError UNAVAILABLE (fields.reason says why), DEADLINE, or INVALID if the message is too large */
  async request(subject: string, data: Uint8Array, headers: MsgHdrs, timeoutMs: number, what: string): Promise<Msg> {
    const timeout = Math.max(1, Math.ceil(timeoutMs));
    return this.whileConnected(what, () => {
      this.checkSize(data, headers, what);
      return this.nats.request(subject, data, { timeout, headers });
    });
  }

  /** Runs work that needs the network; fails as soon as the connection is lost, or at once if there is none. */
  async whileConnected<Result>(what: string, work: () => Promise<Result>): Promise<Result> {
    if (!this.#usable) throw notConnected(what);
    let fail: (error: WeirError) => void = () => undefined;
    const lost = new Promise<never>((_resolve, reject) => {
      fail = reject;
    });
    this.#waiting.add(fail);
    try {
      return await Promise.race([work(), lost]);
    } catch (error) {
      throw requestFailure(error, what);
    } finally {
      this.#waiting.delete(fail);
    }
  }

  /** @returns false if nothing was sent because there is no connection */
  send(subject: string, data: Uint8Array, headers: MsgHdrs, what: string): boolean {
    this.checkSize(data, headers, what);
    if (!this.#usable) return false;
    this.nats.publish(subject, data, { headers });
    return true;
  }

  /** Returns a function that ends the subscription; messages already on their way still reach `onMessage`. */
  subscribe(subject: string, queue: string | undefined, onMessage: (message: Msg) => void): () => Promise<void> {
    const subscription = this.nats.subscribe(subject, {
      ...(queue === undefined ? {} : { queue }),
      callback: (error, message) => {
        if (error === null) onMessage(message);
        else this.#log.error({ subject, error }, 'NATS ended a subscription');
      },
    });
    return async () => {
      if (subscription.isClosed()) return;
      if (this.#connected) await subscription.drain();
      else subscription.unsubscribe();
    };
  }

  /** @throws WeirError with the code if the message is larger than the NATS server accepts */
  checkSize(data: Uint8Array, headers: MsgHdrs, what: string, code = ErrorCode.INVALID): void {
    const limitBytes = this.nats.info?.max_payload;
    if (limitBytes === undefined || data.length + HEADER_ROOM_BYTES <= limitBytes) return;
    const sizeBytes = data.length + encodedLength(headers);
    if (sizeBytes <= limitBytes) return;
    throw new WeirError(code, `${what}: the message has ${sizeBytes} bytes; the limit is ${limitBytes}`, {
      size_bytes: String(sizeBytes),
      limit_bytes: String(limitBytes),
    });
  }

  /** @throws WeirError UNAVAILABLE or DEADLINE */
  async flush(): Promise<void> {
    await this.whileConnected('flush', () => within(FLUSH_TIMEOUT_MS, this.nats.flush(), tooLate));
  }

  /** Closes when the work has ended or graceMs have passed. Takes a little longer to send what is queued. */
  async closeAfter(work: Promise<unknown>, graceMs: number): Promise<void> {
    try {
      await within(graceMs, work, tooLate);
    } catch (error) {
      this.#log.warn({ graceMs, error }, 'the bus closes although some handlers still run');
    }
    this.#closing = true;
    try {
      // Without a connection a drain would wait for one.
      if (this.#connected) await within(FLUSH_TIMEOUT_MS, this.nats.drain(), tooLate);
    } catch (error) {
      this.#log.warn({ error }, 'messages that were queued for sending are lost');
    }
    await this.nats.close();
  }

  async #follow(statuses: AsyncIterable<Status>): Promise<void> {
    for await (const status of statuses) {
      switch (status.type) {
        case 'disconnect':
          this.#change(false);
          break;
        case 'reconnect':
          this.#change(true);
          break;
        case 'error':
          this.#log.warn({ error: status.error }, 'NATS reports an error');
          break;
        case 'ldm':
          this.#log.info({ server: status.server }, 'the NATS server is shutting down');
          break;
        case 'slowConsumer':
        case 'staleConnection':
        case 'forceReconnect':
        case 'reconnecting':
        case 'update':
        case 'ping':
        case 'close':
          break;
        default:
          status satisfies never;
      }
    }
  }

  #change(connected: boolean): void {
    if (this.#connected === connected) return;
    this.#connected = connected;
    if (connected) this.#log.info({}, 'reconnected to NATS');
    else if (!this.#closing) this.#log.warn({}, 'the connection to NATS is lost');
    if (!connected) this.#failWaiting();
    for (const listener of this.#listeners) {
      try {
        listener(connected);
      } catch (error) {
        this.#log.error({ error }, 'a listener of the connection failed');
      }
    }
  }

  #failWaiting(): void {
    for (const fail of this.#waiting) fail(connectionLost());
    this.#waiting.clear();
  }

  #closed(error: void | Error): void {
    if (!this.#closing) this.#log.error({ error }, 'the connection to NATS ended and will not be restored');
    this.#closing = true;
    this.#change(false);
  }
}

const tooLate = (): never => {
  throw new TimeoutError();
};

/** More than the headers of the bus ever need: a message that fits with this much room needs no exact measurement. */
const HEADER_ROOM_BYTES = 4_096;

function encodedLength(headers: MsgHdrs): number {
  let length = 'NATS/1.0\r\n\r\n'.length;
  for (const [key, values] of headers) {
    for (const value of values) length += Buffer.byteLength(`${key}: ${value}\r\n`);
  }
  return length;
}

function readUrl(url: string): { servers: string[]; user: string | undefined; password: string | undefined } {
  const urls = url.split(',').map((one) => {
    const text = one.trim();
    return new URL(text.includes('://') ? text : `nats://${text}`);
  });
  const withUser = urls.find(({ username }) => username !== '');
  return {
    servers: urls.map(({ protocol, host }) => `${protocol}//${host}`),
    user: withUser === undefined ? undefined : decodeURIComponent(withUser.username),
    password: withUser === undefined ? undefined : decodeURIComponent(withUser.password),
  };
}

/** WeirError's fields.reason when the subject has no subscriber. */
const NO_RESPONDERS = 'no_responders';

/** Whether a call failed because no instance serves the method; for a method with an owner, the owner has ended. */
export const nobodyServes = (error: unknown): boolean =>
  isWeirError(error, ErrorCode.UNAVAILABLE) && error.fields['reason'] === NO_RESPONDERS;

/** WeirError's fields.reason when there is no connection to send by. */
const DISCONNECTED = 'disconnected';

/** Whether a call failed before it reached anybody: NATS knows nobody who serves the method, or isn't connected. */
export const neverSent = (error: unknown): boolean =>
  nobodyServes(error) || (isWeirError(error, ErrorCode.UNAVAILABLE) && error.fields['reason'] === DISCONNECTED);

const notConnected = (what: string): WeirError =>
  new WeirError(ErrorCode.UNAVAILABLE, `${what}: there is no connection to NATS`, { reason: DISCONNECTED });

const connectionLost = (): WeirError =>
  new WeirError(ErrorCode.UNAVAILABLE, 'the connection to NATS was lost before the reply came', {
    reason: 'connection_lost',
  });

function requestFailure(error: unknown, what: string): WeirError {
  if (error instanceof WeirError) return error;
  if (error instanceof TimeoutError) {
    return new WeirError(ErrorCode.DEADLINE, `${what}: no reply within the deadline`, {}, { cause: error });
  }
  const refused = error instanceof RequestError ? error : error instanceof Error ? error.cause : undefined;
  if (refused instanceof RequestError && refused.isNoResponders()) {
    return new WeirError(
      ErrorCode.UNAVAILABLE,
      `no instance serves ${what}`,
      { reason: NO_RESPONDERS },
      { cause: error },
    );
  }
  return new WeirError(ErrorCode.UNAVAILABLE, `${what}: NATS failed`, { reason: 'nats' }, { cause: error });
}
