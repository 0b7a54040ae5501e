import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bus, Registration } from '@weir/bus';
import { DeviceEvents } from '@weir/contracts';
import { awakeNowMs, type Logger } from '@weir/platform';
import { cloudMessageOf, isInRanges, MESSAGE_FLAG, type MessageFlag } from '@weir/protocol-topvdn';
import { within } from '@weir/timing';
import type { App } from './app-store.js';
import type { DeviceChannels } from './device-channels.js';
import type { DeviceSocket } from './device-socket.js';
import { Mailbox } from './mailbox.js';
import type { Added, AddedMessage, MessageStore, StoredMessage, Wakeable } from './message-store.js';
import type { WakeUps } from './wake-ups.js';

/** A message as it is pushed. */
export interface PushedMessage {
  readonly to: number;
  /** The device that sends it; 0 for an application's server. */
  readonly from: number;
  /** Base64, as it was pushed. */
  readonly msg: string;
  readonly flag: MessageFlag;
}

/** The app that pushes. */
export type Pusher = Pick<App, 'id' | 'ranges' | 'wakeHook'>;

/** Messages that are accepted together or not at all. */
export interface Push {
  readonly app: Pusher;
  /** The caller's own name of this push: with the same one again, nothing more is sent. */
  readonly id?: string | undefined;
  /** All for devices that exist. */
  readonly messages: readonly PushedMessage[];
}

export type Accepted =
  | { readonly tag: 'accepted' }
  /** So many messages wait for these devices that no more are kept; nothing of the push was accepted. */
  | { readonly tag: 'full'; readonly cids: readonly number[] };

export interface MessagesPorts {
  readonly store: MessageStore;
  readonly channels: () => Pick<DeviceChannels, 'send' | 'presences'>;
  readonly wakeUps: Pick<WakeUps, 'add' | 'addAlone' | 'look'>;
  readonly bus: Pick<Bus, 'instanceId' | 'publish' | 'subscribe' | 'onConnectionChange'>;
  readonly log: Logger;
}

type IdentifiedMessage = PushedMessage & { readonly id: string };

interface Open {
  readonly socket: DeviceSocket;
  readonly mailbox: Mailbox;
}

const NOTHING_STORED: Added = { tag: 'added', messages: [] };
const TICK_INTERVAL_MS = 250;
/** How often to look for messages whose announcement was lost. */
const LOOK_INTERVAL_MS = 5_000;
/** A transaction may become visible this long after its time. */
const LATE_BY_MS = 10_000;
const PURGE_INTERVAL_MS = 60_000;
const REMOVED_AT_ONCE = 1_000;
const REMOVE_AGAIN_AFTER_MS = 500;
/** While PostgreSQL is away, no more acknowledgements are remembered; the messages are sent again then. */
const MAX_ACKNOWLEDGED = 200_000;
const CLOSE_WITHIN_MS = 3_000;

/**
 * Messages to devices. An acknowledged one (flag 2) is in PostgreSQL before it is accepted, and until the device has
 * acknowledged it; the instance that has the device's socket reads it from there and sends it. One with flag 3 is sent
 * once to a device that is connected, and isn't stored.
 */
export class Messages {
  readonly #open = new Map<number, Open>();
  /** Acknowledged messages that are still in the database, with their devices. */
  readonly #acknowledged = new Map<string, number>();
  readonly #subscription: Registration;
  readonly #stopWatchingBus: () => void;
  readonly #ticker: NodeJS.Timeout;
  #isClosing = false;
  #removing: Promise<void> | undefined;
  #isLooking = false;
  #lookedMs = performance.now();
  #lookDueMs = 0;
  #purgeDueMs = awakeNowMs() + PURGE_INTERVAL_MS;

  constructor(private readonly ports: MessagesPorts) {
    this.#subscription = ports.bus.subscribe(DeviceEvents.method.messagesStored, ({ cids, instanceId }) => {
      if (instanceId !== ports.bus.instanceId) this.#wake(cids);
    });
    this.#stopWatchingBus = ports.bus.onConnectionChange(() => {
      this.#lookDueMs = 0;
    });
    this.#ticker = setInterval(() => this.#tick(), TICK_INTERVAL_MS);
  }

  /** Resolves when the messages can't be lost any more, and those with flag 3 are sent or dropped. */
  async accept(push: Push): Promise<Accepted> {
    const messages = push.messages.map((message) => ({ ...message, id: randomUUID().replaceAll('-', '') }));
    const added = await this.#store(push, messages);
    if (added.tag === 'full') return added;
    if (added.tag === 'known') return { tag: 'accepted' };
    const sendings = messages
      .filter(({ flag }) => flag === MESSAGE_FLAG.once)
      .map(({ to, from, msg }) => this.ports.channels().send(to, cloudMessageOf('PopMessage', msg, from)));
    this.#deliver(added.messages);
    await Promise.all(sendings);
    return { tag: 'accepted' };
  }

  /** The messages were stored just now. The sockets of their devices are here, or on other instances. */
  #deliver(messages: readonly AddedMessage[]): void {
    if (messages.length === 0) return;
    for (const message of messages) {
      const open = this.#open.get(message.to);
      if (open?.socket.device.appId === message.appId) open.mailbox.stored(message);
    }
    const { bus } = this.ports;
    const cids = [...new Set(messages.map(({ to }) => to))];
    bus.publish(DeviceEvents.method.messagesStored, { cids, instanceId: bus.instanceId });
  }

  /** The device's socket is here: its messages are sent over it. */
  opened(socket: DeviceSocket): void {
    const { device } = socket;
    const mailbox = new Mailbox({
      read: (after, limit) => this.ports.store.read(device, after, limit),
      isAcknowledged: (id) => this.#acknowledged.has(id),
      send: (frame) => socket.sendFrame(frame),
      connectedForMs: () => performance.now() - socket.openedMs,
      gaveUp: (message) => this.#wakeUp(device, [message], (cids) => this.ports.store.wakeable(cids)),
      log: this.ports.log,
    });
    this.#open.set(device.cid, { socket, mailbox });
    mailbox.wake();
  }

  closed(socket: DeviceSocket): void {
    const open = this.#open.get(socket.device.cid);
    if (open?.socket !== socket) return;
    this.#open.delete(socket.device.cid);
    this.#wakeUp(socket.device, open.mailbox.close(), async (cids) =>
      this.#asleep(await this.ports.store.wakeable(cids)),
    );
  }

  acknowledged({ device: { cid } }: DeviceSocket, id: string): void {
    this.#open.get(cid)?.mailbox.acknowledged(id);
    if (this.#acknowledged.size < MAX_ACKNOWLEDGED) this.#acknowledged.set(id, cid);
    this.#removing ??= this.#removeAcknowledged().finally(() => {
      this.#removing = undefined;
    });
  }

  /** Call this when no socket is open any more. What was acknowledged is removed from the database first. */
  async close(): Promise<void> {
    this.#isClosing = true;
    clearInterval(this.#ticker);
    this.#stopWatchingBus();
    await this.#subscription.close();
    await within(CLOSE_WITHIN_MS, this.#removing ?? Promise.resolve(), () => undefined);
  }

  /** Those of the devices whose apps want to wake them. Most pushes are for devices of the app that pushes. */
  async #wakeable(cids: readonly number[], { id, ranges, wakeHook }: Pusher): Promise<readonly Wakeable[]> {
    const isOwn = (cid: number) => isInRanges(cid, ranges);
    const own = wakeHook === '' ? [] : cids.filter(isOwn).map((cid) => ({ cid, appId: id }));
    const others = cids.filter((cid) => !isOwn(cid));
    return others.length === 0 ? own : [...own, ...(await this.ports.store.wakeable(others))];
  }

  /** Those of the devices that are connected nowhere. */
  async #asleep(wakeable: readonly Wakeable[]): Promise<readonly Wakeable[]> {
    if (wakeable.length === 0) return [];
    try {
      const connected = await this.ports.channels().presences(wakeable.map(({ cid }) => cid));
      return wakeable.filter(({ cid }) => !connected.has(cid));
    } catch (error) {
      this.ports.log.warn({ err: error }, 'devices are woken, because nobody knows whether they are connected');
      return wakeable;
    }
  }

  /** Stores messages in the same transaction as the calls that wake their devices. */
  async #store(push: Push, messages: readonly IdentifiedMessage[]): Promise<Added> {
    const { store, wakeUps } = this.ports;
    const wakeable = await this.#wakeable([...new Set(messages.map(({ to }) => to))], push.app);
    const asleep = new Map((await this.#asleep(wakeable)).map((device) => [device.cid, device]));
    const addition = {
      messages: messages.filter(({ flag }) => flag === MESSAGE_FLAG.acknowledged),
      push: push.id === undefined ? undefined : { appId: push.app.id, id: push.id },
    };
    const isEmpty = addition.messages.length === 0 && addition.push === undefined;
    if (asleep.size === 0) return isEmpty ? NOTHING_STORED : store.add(addition);
    const added = await store.transaction(async (transaction) => {
      const outcome: Added = isEmpty ? NOTHING_STORED : await store.add(addition, transaction);
      if (outcome.tag !== 'added') return outcome;
      for (const message of messages) {
        const device = asleep.get(message.to);
        if (device !== undefined) await wakeUps.add(transaction, { appId: device.appId, ...message });
      }
      return outcome;
    });
    if (added.tag === 'added') wakeUps.look();
    return added;
  }

  /** A device that doesn't acknowledge is perhaps asleep, even behind a connection that nobody has closed. */
  #wakeUp(
    { cid, appId }: Wakeable,
    messages: readonly StoredMessage[],
    toWake: (cids: readonly number[]) => Promise<readonly Wakeable[]>,
  ): void {
    const { wakeUps, log } = this.ports;
    const waking = async () => {
      if ((await toWake([cid])).length === 0) return;
      for (const message of messages) await wakeUps.addAlone({ appId, flag: MESSAGE_FLAG.acknowledged, ...message });
    };
    if (messages.length === 0) return;
    waking().catch((error: unknown) => log.warn({ err: error, cid }, 'a device could not be woken'));
  }

  #wake(cids: readonly number[]): void {
    for (const cid of cids) this.#open.get(cid)?.mailbox.wake();
  }

  async #removeAcknowledged(): Promise<void> {
    while (this.#acknowledged.size > 0) {
      const some = [...this.#acknowledged].slice(0, REMOVED_AT_ONCE);
      try {
        await this.ports.store.remove(some.map(([id, cid]) => ({ id, cid })));
        for (const [id] of some) this.#acknowledged.delete(id);
      } catch (error) {
        this.ports.log.warn({ err: error }, 'acknowledged messages could not be removed; trying again');
        if (this.#isClosing) return;
        await sleep(REMOVE_AGAIN_AFTER_MS);
      }
    }
  }

  #tick(): void {
    const nowMs = awakeNowMs();
    for (const { mailbox } of this.#open.values()) mailbox.tick(nowMs);
    if (nowMs >= this.#lookDueMs && !this.#isLooking) {
      this.#lookDueMs = nowMs + LOOK_INTERVAL_MS;
      this.#isLooking = true;
      this.#look()
        .catch((error: unknown) => this.ports.log.warn({ err: error }, 'new messages could not be looked for'))
        .finally(() => {
          this.#isLooking = false;
        });
    }
    if (nowMs >= this.#purgeDueMs) {
      this.#purgeDueMs = nowMs + PURGE_INTERVAL_MS;
      this.ports.store
        .purge()
        .catch((error: unknown) => this.ports.log.warn({ err: error }, 'old messages could not be removed'));
    }
  }

  /** Finds messages that were stored since the last look. */
  async #look(): Promise<void> {
    const nowMs = performance.now();
    if (this.#open.size > 0) this.#wake(await this.ports.store.recent(nowMs - this.#lookedMs + LATE_BY_MS));
    this.#lookedMs = nowMs;
  }
}
