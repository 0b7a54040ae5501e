import { setTimeout as sleep } from 'node:timers/promises';
import { nobodyServes, type Bus, type Registration } from '@weir/bus';
import { DeviceEvents, DeviceSockets as DeviceSocketsContract } from '@weir/contracts';
import { awakeNowMs, type Logger } from '@weir/platform';
import type { ClientSocket } from '@weir/platform/sockets';
import { CLOSE, DEVICE_STATE, encodeEvent, type DeviceEvent, type DeviceState } from '@weir/protocol-topvdn';
import {
  connectedState,
  type ConnectedState,
  type DeviceConnection,
  type DevicePresence,
  type DevicePresences,
} from './device-presence.js';
import { DeviceSocket, type CallRequest, type ConnectedDevice, type DeviceSocketPorts } from './device-socket.js';

/** What happens to devices, for those who manage their calls. */
export interface DeviceListener {
  /** On the instance that has the device's socket, in the order of the device's frames. */
  asked(device: ConnectedDevice, request: CallRequest): void;
  /** On every instance: the device has connected, perhaps while it still had another connection. */
  arrived(cid: number): void;
  /** On every instance: the device is connected nowhere any more. */
  gone(cid: number): void;
}

export interface StateChange {
  readonly cid: number;
  readonly state: DeviceState;
  /** Of the connection in which the state changed. */
  readonly epoch: bigint;
  /** Undefined if the device is offline. */
  readonly presence: DevicePresence | undefined;
}

export interface DeviceChannelsPorts {
  readonly bus: Pick<Bus, 'instanceId' | 'call' | 'serve' | 'publish' | 'subscribe' | 'onConnectionChange'>;
  readonly presences: DevicePresences;
  readonly socket: Pick<DeviceSocketPorts, 'settings' | 'refusals' | 'acknowledged'>;
  readonly listener: DeviceListener;
  /** The device's socket is here and known to all instances: what waits for the device can be sent. */
  readonly entered: (socket: DeviceSocket) => void;
  /** The socket that `entered` told of is closed. */
  readonly left: (socket: DeviceSocket) => void;
  /** Told on one instance for each change. */
  readonly changed: (change: StateChange) => void;
  readonly log: Logger;
}

interface Held {
  readonly socket: DeviceSocket;
  readonly presence: DevicePresence;
}

const TICK_INTERVAL_MS = 250;
const RENEW_INTERVAL_MS = 10_000;
/** For how long this instance tries to reach a device on another one while Redis or the bus is away. */
const REACH_WITHIN_MS = 5_000;
const REACH_AGAIN_AFTER_MS = 200;

/** The devices' sockets of this instance, and the way to those of the others. A device has one socket: the newest. */
export class DeviceChannels {
  readonly #open = new Set<DeviceSocket>();
  readonly #held = new Map<number, Held>();
  readonly #leaving = new Set<Promise<void>>();
  /** For each device on another instance, what is being sent to it. */
  readonly #sending = new Map<number, Promise<boolean>>();
  readonly #registrations: readonly Registration[];
  readonly #stopWatchingBus: () => void;
  readonly #ticker: NodeJS.Timeout;
  #renewDueMs = 0;
  #isRenewing = false;
  #isClosed = false;

  constructor(private readonly ports: DeviceChannelsPorts) {
    const { bus } = ports;
    this.#registrations = [
      bus.serve(DeviceSocketsContract.method.send, ({ cid, frame }) => ({ sent: this.#sendHere(cid, frame) })),
      bus.serve(DeviceSocketsContract.method.setState, ({ cid, state }) => {
        const known = connectedState.safeParse(state);
        return { changed: known.success && this.#setStateHere(cid, known.data) };
      }),
      bus.subscribe(DeviceEvents.method.connected, ({ cid, instanceId, epoch }) => {
        if (instanceId === bus.instanceId) return;
        this.#replacedBy({ cid, epoch });
        this.ports.listener.arrived(cid);
      }),
      bus.subscribe(DeviceEvents.method.disconnected, ({ cid, instanceId }) => {
        if (instanceId !== bus.instanceId && !this.#held.has(cid)) this.ports.listener.gone(cid);
      }),
    ];
    this.#stopWatchingBus = bus.onConnectionChange(() => this.renewSoon());
    this.#ticker = setInterval(() => this.#tick(), TICK_INTERVAL_MS);
  }

  /** All sockets, including those of devices that aren't in Redis yet. */
  get openCount(): number {
    return this.#open.size;
  }

  /** Devices whose sockets this instance has. */
  get count(): number {
    return this.#held.size;
  }

  open(device: ConnectedDevice, socket: ClientSocket): DeviceSocket {
    const opened: DeviceSocket = new DeviceSocket(device, socket, {
      ...this.ports.socket,
      log: this.ports.log,
      asked: ({ device }, request) => this.ports.listener.asked(device, request),
      ended: () => this.#ended(opened),
    });
    this.#open.add(opened);
    this.#arrive(opened).catch((error: unknown) => {
      // Nobody could find this device, so it had better connect again.
      this.ports.log.warn({ err: error, cid: device.cid }, 'a device could not be entered in Redis');
      opened.close(CLOSE.shutdown, 'Not available just now; connect again');
    });
    return opened;
  }

  /** The socket of the device if this instance has it. */
  find(cid: number): DeviceSocket | undefined {
    return this.#held.get(cid)?.socket;
  }

  /**
   * Sends the event to the device, whichever instance has its socket. Events of this instance for one device keep their
   * order. While Redis or the bus is away, this instance tries for five seconds. If the other one doesn't confirm an event,
   * it is sent again, so it may arrive twice.
   * @returns whether it was written to a socket of the device
   */
  send(cid: number, event: DeviceEvent): Promise<boolean> {
    const frame = encodeEvent(event);
    const before = this.#sending.get(cid);
    if (before === undefined && this.#sendHere(cid, frame)) return Promise.resolve(true);
    const sending: Promise<boolean> = (before ?? Promise.resolve(true))
      .then(() => this.#sendHere(cid, frame) || this.#sendElsewhere(cid, frame))
      .finally(() => {
        if (this.#sending.get(cid) === sending) this.#sending.delete(cid);
      });
    this.#sending.set(cid, sending);
    return sending;
  }

  /**
   * Changes the state that is reported for a connected device, whichever instance has its socket.
   * @returns false if the device isn't connected, or can't be reached
   */
  async setState(cid: number, state: ConnectedState): Promise<boolean> {
    if (this.#setStateHere(cid, state)) return true;
    const { bus } = this.ports;
    return this.#reach(cid, async (instanceId) => {
      const { changed } = await bus.call(DeviceSocketsContract.method.setState, { instanceId, cid, state });
      return changed;
    });
  }

  /**
   * The devices that are connected, on whichever instance; the others are left out.
   * @throws while Redis is away, unless this instance has the sockets of all
   */
  async presences(cids: readonly number[]): Promise<ReadonlyMap<number, DevicePresence>> {
    const here = cids.flatMap((cid) => this.#held.get(cid)?.presence ?? []);
    const elsewhere = cids.filter((cid) => !this.#held.has(cid));
    const found = elsewhere.length === 0 ? [] : await this.ports.presences.find(elsewhere);
    return new Map([...found, ...here].map((presence) => [presence.cid, presence]));
  }

  /** Writes this instance's devices to Redis again, now: Redis may have lost them, or others may have taken them over. */
  renewSoon(): void {
    this.#renewDueMs = 0;
  }

  /** Another instance has ended without closing its sockets. Its devices are offline until they connect again. */
  async instanceLost(instanceId: string): Promise<void> {
    const { presences } = this.ports;
    for (const presence of await presences.all())
      if (presence.instanceId === instanceId && (await presences.leave(presence))) this.#tellGone(presence);
  }

  /** Closes the channels of devices that may no longer have one. */
  async closeEnded(ended: (devices: readonly ConnectedDevice[]) => Promise<ReadonlySet<number>>): Promise<void> {
    const cids = await ended([...this.#held.values()].map(({ socket }) => socket.device));
    for (const cid of cids)
      this.find(cid)?.close(CLOSE.unauthorized, 'The token of the device is no longer valid; get a new one');
  }

  /** The instances that have devices' sockets, this one included, as Redis knows them. */
  async instances(): Promise<ReadonlySet<string>> {
    return new Set((await this.ports.presences.all()).map(({ instanceId }) => instanceId));
  }

  /** Closes every socket; resolves when Redis knows it. */
  async drain(): Promise<void> {
    for (const socket of [...this.#open]) socket.close(CLOSE.shutdown, 'The server is going down; connect again');
    await Promise.all(this.#leaving);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#ticker);
    this.#stopWatchingBus();
    await Promise.all(this.#registrations.map((registration) => registration.close()));
  }

  async #arrive(socket: DeviceSocket): Promise<void> {
    const { presences, bus, log, listener } = this.ports;
    const { cid, address, port } = socket.device;
    const seen = { state: DEVICE_STATE.ready, address, port };
    const [before] = await presences.find([cid]);
    const epoch = await presences.arrive(cid, seen);
    const older = this.#held.get(cid);
    if (!socket.isOpen || (older !== undefined && older.presence.epoch > epoch)) {
      // While Redis was asked, the socket was closed, or a newer one took its place.
      socket.close(CLOSE.replaced, 'The device has connected again');
      const presence = { cid, epoch };
      if (await presences.leave(presence)) this.#tellGone(presence);
      return;
    }
    const presence = { cid, ...seen, instanceId: bus.instanceId, epoch };
    this.#held.set(cid, { socket, presence });
    if (older !== undefined) {
      this.ports.left(older.socket);
      older.socket.close(CLOSE.replaced, 'The device has connected again');
    }
    log.info({ cid }, 'device online');
    bus.publish(DeviceEvents.method.connected, { cid, instanceId: bus.instanceId, epoch });
    if (before?.state !== presence.state) this.#tellState(presence);
    listener.arrived(cid);
    socket.enter();
    this.ports.entered(socket);
  }

  #ended(socket: DeviceSocket): void {
    this.#open.delete(socket);
    const { cid } = socket.device;
    const held = this.#held.get(cid);
    if (held?.socket !== socket) return;
    this.#held.delete(cid);
    this.ports.left(socket);
    this.ports.log.info({ cid }, 'device offline');
    const leaving: Promise<void> = this.#leave(held.presence).finally(() => this.#leaving.delete(leaving));
    this.#leaving.add(leaving);
  }

  async #leave(presence: DevicePresence): Promise<void> {
    try {
      if (!(await this.ports.presences.leave(presence))) return;
    } catch (error) {
      // The lease ends by itself.
      this.ports.log.warn({ err: error, cid: presence.cid }, 'a device that left could not be taken out of Redis');
    }
    this.#tellGone(presence);
  }

  #tellGone({ cid, epoch }: DeviceConnection): void {
    const { bus, changed, listener } = this.ports;
    bus.publish(DeviceEvents.method.disconnected, { cid, instanceId: bus.instanceId, epoch });
    if (this.#held.has(cid)) return;
    changed({ cid, epoch, state: DEVICE_STATE.offline, presence: undefined });
    listener.gone(cid);
  }

  #tellState(presence: DevicePresence): void {
    const { cid, state, epoch } = presence;
    this.ports.changed({ cid, state, epoch, presence });
  }

  /** Another instance has a connection of the device with this epoch; it replaces an older one of this instance. */
  #replacedBy({ cid, epoch }: DeviceConnection): void {
    const held = this.#held.get(cid);
    if (held !== undefined && held.presence.epoch < epoch)
      held.socket.close(CLOSE.replaced, 'The device has connected again');
  }

  #sendHere(cid: number, frame: string): boolean {
    const socket = this.find(cid);
    socket?.sendFrame(frame);
    return socket !== undefined;
  }

  #sendElsewhere(cid: number, frame: string): Promise<boolean> {
    const { bus } = this.ports;
    return this.#reach(cid, async (instanceId) => {
      const { sent } = await bus.call(DeviceSocketsContract.method.send, { instanceId, cid, frame });
      return sent;
    });
  }

  #setStateHere(cid: number, state: ConnectedState): boolean {
    const held = this.#held.get(cid);
    if (held === undefined) return false;
    if (held.presence.state === state) return true;
    const presence = { ...held.presence, state };
    this.#held.set(cid, { ...held, presence });
    this.ports.presences
      .renew([presence])
      .catch((error: unknown) => this.ports.log.warn({ err: error, cid }, 'a state will be written to Redis later'));
    this.#tellState(presence);
    return true;
  }

  /** Asks the instance that has the device's socket; false if none has it. */
  async #reach(cid: number, ask: (instanceId: string) => Promise<boolean>): Promise<boolean> {
    const { presences, bus, log } = this.ports;
    const giveUpMs = awakeNowMs() + REACH_WITHIN_MS;
    for (;;) {
      try {
        const [presence] = await presences.find([cid]);
        if (presence === undefined || presence.instanceId === bus.instanceId) return false;
        return await ask(presence.instanceId);
      } catch (error) {
        if (nobodyServes(error)) return false;
        if (this.#isClosed || awakeNowMs() > giveUpMs) {
          log.warn({ err: error, cid }, 'a device on another instance could not be reached');
          return false;
        }
        await sleep(REACH_AGAIN_AFTER_MS);
      }
    }
  }

  #tick(): void {
    const nowMs = awakeNowMs();
    for (const socket of this.#open) socket.tick(nowMs);
    if (nowMs < this.#renewDueMs || this.#isRenewing) return;
    this.#renewDueMs = nowMs + RENEW_INTERVAL_MS;
    this.#isRenewing = true;
    this.#renew()
      .catch((error: unknown) => this.ports.log.warn({ err: error }, 'presence could not be renewed'))
      .finally(() => {
        this.#isRenewing = false;
      });
  }

  async #renew(): Promise<void> {
    const held = [...this.#held.values()].map(({ presence }) => presence);
    for (const { cid, epoch } of await this.ports.presences.renew(held)) this.#replacedBy({ cid, epoch: epoch + 1n });
  }
}
