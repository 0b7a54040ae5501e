import {
  CLOSE,
  encodeRequest,
  ERROR_CODE,
  readEvent,
  type DeviceEvent,
  type DeviceRequest,
  type TypedEvent,
} from '@weir/protocol-topvdn/channel';
import { backOffMs } from '@weir/timing';
import { DeviceError } from './device-error.js';
import type { DeviceSettings } from './settings.js';

/** What the library needs of a WebSocket; browsers' have it, and those of the package `ws`. */
export interface Socket {
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}
export type SocketConstructor = new (url: string) => Socket;

export type StateEvent = Extract<TypedEvent, { type: 'state' }>;
type Answered = Extract<DeviceRequest, { ref?: string | undefined }>;
type AnswerOf<Type extends TypedEvent['type']> = Extract<TypedEvent, { type: Type }>;

/** What becomes of the connection. */
export interface ChannelListener {
  /** Connected; `state` is what the server knows of the device. */
  up(state: StateEvent): void;
  /** The connection is lost, and is being made again. */
  down(): void;
  /** The connection is over for good: another one of the same device replaced it, or the token is no longer valid. */
  ended(code: number): void;
  event(event: DeviceEvent): void;
}

interface ChannelPorts {
  /** Asked before each connection, so that the token can be another one. */
  readonly url: () => Promise<string>;
  readonly Socket: SocketConstructor;
  readonly settings: DeviceSettings;
  readonly listener: ChannelListener;
  readonly isInCall: () => boolean;
}

interface Waiting {
  readonly resolve: (event: TypedEvent) => void;
  readonly reject: (error: DeviceError) => void;
}

/** Closed with one of these, a device doesn't come back by itself. */
const FINAL_CODES: readonly number[] = [CLOSE.replaced, CLOSE.unauthorized];

/** One device's connection to the server: it comes back when it is lost, and matches answers with requests. */
export class Channel {
  readonly #ports: ChannelPorts;
  #socket: Socket | undefined;
  #isUp = false;
  #isClosed = false;
  #failures = 0;
  #lastRef = 0;
  #heardAtMs = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #heartbeat: ReturnType<typeof setTimeout> | undefined;
  readonly #waiting = new Map<string, Waiting>();

  constructor(ports: ChannelPorts) {
    this.#ports = ports;
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  /** Connects, and stays connected until `close`. */
  open(): void {
    void this.#connect();
  }

  /** Tries to connect now if it waits for its next try, and asks the server for a sign of life if it is connected. */
  hurry(): void {
    if (this.#isClosed) return;
    if (this.#isUp) this.#ping();
    else if (this.#retry !== undefined) {
      clearTimeout(this.#retry);
      this.#retry = undefined;
      void this.#connect();
    }
  }

  /** Sends what needs no answer. It is lost if the connection is. */
  tell(request: DeviceRequest): void {
    if (this.#isUp) this.#socket?.send(encodeRequest(request));
  }

  /** @throws DeviceError if the server refuses, doesn't answer in time, or the connection is lost meanwhile */
  async ask<Type extends TypedEvent['type']>(request: Answered, type: Type): Promise<AnswerOf<Type>> {
    if (!this.#isUp) throw new DeviceError(ERROR_CODE.offline, 'The device is not connected; wait until it is online');
    return this.#ask(request, type);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#retry);
    this.#lose('The cloud service was stopped');
  }

  async #connect(): Promise<void> {
    const { url, Socket, settings } = this.#ports;
    try {
      const target = await url();
      if (this.#isClosed || this.#socket !== undefined) return;
      const socket = new Socket(target);
      this.#socket = socket;
      const deadline = setTimeout(() => this.#drop(socket), settings.connectDeadlineMs);
      socket.onopen = () => void this.#greet(socket, deadline);
      socket.onmessage = (event: { data?: unknown }) => {
        if (typeof event.data === 'string') this.#read(socket, event.data);
      };
      socket.onclose = (event: { code?: number }) => {
        clearTimeout(deadline);
        if (this.#socket === socket) this.#lost(event.code);
      };
      // `onclose` follows and says all that there is to say.
      socket.onerror = () => undefined;
    } catch {
      // Without a token or a usable address there is nothing to connect to now; the next try asks again.
      this.#retryLater();
    }
  }

  /** The server's view of the device comes first: calls may have begun or ended meanwhile. */
  async #greet(socket: Socket, deadline: ReturnType<typeof setTimeout>): Promise<void> {
    try {
      const state = await this.#ask({ type: 'state' }, 'state');
      if (this.#socket !== socket) return;
      clearTimeout(deadline);
      this.#isUp = true;
      this.#failures = 0;
      this.#beat();
      this.#ports.listener.up(state);
    } catch {
      // No answer, or none in time: the connection isn't usable.
      this.#drop(socket);
    }
  }

  #ask<Type extends TypedEvent['type']>(request: Answered, type: Type): Promise<AnswerOf<Type>> {
    const ref = `${++this.#lastRef}`;
    return new Promise((resolve, reject) => {
      const { answerDeadlineMs } = this.#ports.settings;
      const timer = setTimeout(
        () => settle(() => reject(new DeviceError(ERROR_CODE.unavailable, `No answer within ${answerDeadlineMs} ms`))),
        answerDeadlineMs,
      );
      const settle = (outcome: () => void) => {
        clearTimeout(timer);
        this.#waiting.delete(ref);
        outcome();
      };
      this.#waiting.set(ref, {
        resolve: (event) =>
          settle(() => {
            if (isOfType(event, type)) resolve(event);
            else if (event.type === 'error') reject(new DeviceError(event.code, event.message));
            else reject(new DeviceError(ERROR_CODE.unavailable, `The server answered with ${event.type}`));
          }),
        reject: (error) => settle(() => reject(error)),
      });
      this.#socket?.send(encodeRequest({ ...request, ref }));
    });
  }

  #read(socket: Socket, text: string): void {
    if (this.#socket !== socket) return;
    this.#heardAtMs = Date.now();
    const event = readEvent(text);
    if (event === undefined) return;
    const waiting = 'type' in event && 'ref' in event && event.ref !== undefined && this.#waiting.get(event.ref);
    if (waiting) waiting.resolve(event);
    else this.#ports.listener.event(event);
  }

  #beat(): void {
    const { settings, isInCall } = this.#ports;
    clearTimeout(this.#heartbeat);
    this.#heartbeat = setTimeout(
      () => {
        this.#ping();
        this.#beat();
      },
      isInCall() ? settings.pingIntervalInCallMs : settings.pingIntervalMs,
    );
  }

  /** A call has begun or ended, so the pings come at another pace. */
  pace(): void {
    if (this.#isUp) this.#beat();
  }

  #ping(): void {
    const socket = this.#socket;
    if (socket === undefined) return;
    const askedAtMs = Date.now();
    this.tell({ type: 'ping' });
    setTimeout(() => {
      if (this.#socket === socket && this.#heardAtMs < askedAtMs) this.#drop(socket);
    }, this.#ports.settings.pongDeadlineMs);
  }

  /** Gives a socket up without waiting for its end, which may take minutes on a dead network. */
  #drop(socket: Socket): void {
    if (this.#socket === socket) this.#lost();
  }

  #lost(code?: number): void {
    this.#lose('The connection was lost');
    if (this.#isClosed) return;
    if (code !== undefined && FINAL_CODES.includes(code)) {
      this.#isClosed = true;
      this.#ports.listener.ended(code);
    } else this.#retryLater();
  }

  #lose(reason: string): void {
    const socket = this.#socket;
    this.#socket = undefined;
    clearTimeout(this.#heartbeat);
    if (socket !== undefined) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(1000);
    }
    for (const waiting of [...this.#waiting.values()]) waiting.reject(new DeviceError(ERROR_CODE.unavailable, reason));
    if (!this.#isUp) return;
    this.#isUp = false;
    this.#ports.listener.down();
  }

  #retryLater(): void {
    if (this.#isClosed || this.#retry !== undefined) return;
    const { settings, isInCall } = this.#ports;
    const pauseMs = backOffMs(isInCall() ? settings.paceInCall : settings.pace, this.#failures++, Math.random());
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      void this.#connect();
    }, pauseMs);
  }
}

const isOfType = <Type extends TypedEvent['type']>(event: TypedEvent, type: Type): event is AnswerOf<Type> =>
  event.type === type;
