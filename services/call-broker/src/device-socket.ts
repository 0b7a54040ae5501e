import type { RefusalLog } from '@weir/access';
import { awakeNowMs, type Logger } from '@weir/platform';
import type { ClientSocket, SocketListener } from '@weir/platform/sockets';
import {
  CLOSE,
  encodeEvent,
  ERROR_CODE,
  readRequest,
  type DeviceEvent,
  type DeviceRequest,
} from '@weir/protocol-topvdn';
import { charged, fullAllowance, type Allowance, type FrameLimits } from '@weir/timing';

/** What a device asks about calls; everything else is answered by its socket. */
export type CallRequest = Exclude<DeviceRequest, { type: 'ack' | 'ping' }>;

/** Who has connected, and from where. */
export interface ConnectedDevice {
  readonly cid: number;
  /** The app that the device belongs to. */
  readonly appId: string;
  /** The key with which the device's token was signed. */
  readonly appKey: string;
  readonly tenant: string;
  readonly address: string;
  /** 0 if it isn't known. */
  readonly port: number;
}

export interface DeviceSocketSettings extends FrameLimits {
  readonly pingIntervalMs: number;
  readonly silentAfterMs: number;
  /** So many malformed frames close the socket. */
  readonly maxMalformed: number;
  /** A device that leaves more than this unread is dropped. */
  readonly maxBufferedBytes: number;
}

export interface DeviceSocketPorts {
  readonly settings: DeviceSocketSettings;
  readonly log: Pick<Logger, 'info'>;
  readonly refusals: Pick<RefusalLog, 'say'>;
  /** A request about calls, in the order in which the device sent them, and none before `enter`. */
  readonly asked: (socket: DeviceSocket, request: CallRequest) => void;
  readonly acknowledged: (socket: DeviceSocket, messageId: string) => void;
  /** The socket is closed, by either side. */
  readonly ended: (socket: DeviceSocket) => void;
}

type CloseCode = (typeof CLOSE)[keyof typeof CLOSE];

/** What a device may ask before the platform has entered it. */
const MAX_EARLY_REQUESTS = 64;

/** One device's socket: reads its frames, pings it, and closes it when it is silent, floods or doesn't read. */
export class DeviceSocket implements SocketListener {
  /** On the clock of `performance.now()`. */
  readonly openedMs = performance.now();
  #state: 'entering' | 'entered' | 'closed' = 'entering';
  #early: CallRequest[] = [];
  #heardMs = awakeNowMs();
  #pingDueMs: number;
  #allowance: Allowance;

  constructor(
    readonly device: ConnectedDevice,
    private readonly socket: ClientSocket,
    private readonly ports: DeviceSocketPorts,
  ) {
    this.#pingDueMs = this.#heardMs + ports.settings.pingIntervalMs;
    this.#allowance = fullAllowance(ports.settings, this.#heardMs);
  }

  get isOpen(): boolean {
    return this.#state !== 'closed';
  }

  /** The platform knows the device as connected: what it has asked meanwhile is answered now. */
  enter(): void {
    if (this.#state !== 'entering') return;
    this.#state = 'entered';
    for (const request of this.#early.splice(0)) this.ports.asked(this, request);
  }

  send(event: DeviceEvent): void {
    this.sendFrame(encodeEvent(event));
  }

  sendFrame(frame: string): void {
    if (!this.isOpen) return;
    this.socket.send(frame);
    if (this.socket.bufferedBytes > this.ports.settings.maxBufferedBytes)
      this.close(CLOSE.slowReader, 'The device reads too slowly');
  }

  /** Closes the socket; nothing is read from it any more. Idempotent. */
  close(code: CloseCode, reason: string): void {
    if (!this.isOpen) return;
    this.ports.log.info({ cid: this.device.cid, code, reason }, "a device's socket is closed");
    this.socket.close(code, reason);
    this.closed();
  }

  /** Call this at least a few times within each interval of the settings. */
  tick(nowMs: number): void {
    const { pingIntervalMs, silentAfterMs } = this.ports.settings;
    if (nowMs >= this.#heardMs + silentAfterMs)
      return this.close(CLOSE.silent, 'Nothing was heard of the device for too long');
    if (nowMs < this.#pingDueMs) return;
    this.#pingDueMs = nowMs + pingIntervalMs;
    this.socket.ping();
  }

  frame(text: string): void {
    if (!this.#mayGoOn()) return;
    const read = readRequest(text);
    switch (read.tag) {
      case 'request':
        return this.#take(read.request);
      case 'refused':
        this.ports.refusals.say("a device's request is refused", { ...this.#named, reason: read.error.message }, text);
        return this.send(read.error);
      case 'malformed':
        return this.#malformed(read.error);
      default:
        return read satisfies never;
    }
  }

  binaryFrame(): void {
    if (this.#mayGoOn()) this.#malformed({ type: 'error', code: ERROR_CODE.parameter, message: 'Frames are text' });
  }

  heard(): void {
    this.#heardMs = awakeNowMs();
  }

  broken(reason: string): void {
    this.ports.refusals.say('a client broke the WebSocket protocol', { ...this.#named, reason });
    this.closed();
  }

  closed(): void {
    if (!this.isOpen) return;
    this.#state = 'closed';
    this.#early = [];
    this.ports.ended(this);
  }

  get #named(): { cid: number } {
    return { cid: this.device.cid };
  }

  /** Counts a frame. False if the socket is closed, perhaps because of this frame. */
  #mayGoOn(): boolean {
    if (!this.isOpen) return false;
    this.heard();
    const allowance = charged(this.#allowance, 1, this.ports.settings, this.#heardMs);
    if (allowance === undefined) {
      this.close(CLOSE.flood, 'Too many frames');
      return false;
    }
    this.#allowance = allowance;
    return true;
  }

  #malformed(error: DeviceEvent): void {
    this.ports.refusals.say("a device's frame can't be read", this.#named);
    const malformed = this.#allowance.malformed + 1;
    this.#allowance = { ...this.#allowance, malformed };
    if (malformed > this.ports.settings.maxMalformed)
      return this.close(CLOSE.protocolError, 'Too many malformed frames');
    this.send(error);
  }

  #take(request: DeviceRequest): void {
    switch (request.type) {
      case 'ack':
        return this.ports.acknowledged(this, request.id);
      case 'ping':
        return this.send({ type: 'pong', ...(request.ref !== undefined && { ref: request.ref }) });
      default:
        if (this.#state === 'entered') return this.ports.asked(this, request);
        if (this.#early.length >= MAX_EARLY_REQUESTS) return this.close(CLOSE.flood, 'Too many requests at once');
        this.#early.push(request);
    }
  }
}
