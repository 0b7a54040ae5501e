import { awakeNowMs, type Logger } from '@weir/platform';
import { cloudMessageOf, dueAt, encodeEvent, MESSAGE_FLAG, sentFirst, type Delivery } from '@weir/protocol-topvdn';
import type { StoredMessage } from './message-store.js';

export interface MailboxPorts {
  /** The oldest messages after a place, in their order. */
  readonly read: (after: bigint, limit: number) => Promise<readonly StoredMessage[]>;
  /** The device has acknowledged the message, which is being removed from the database. */
  readonly isAcknowledged: (id: string) => boolean;
  readonly send: (frame: string) => void;
  /** How long the device has been connected. */
  readonly connectedForMs: () => number;
  /** The device didn't acknowledge the message; it is stored until the device connects again. */
  readonly gaveUp: (message: StoredMessage) => void;
  readonly log: Pick<Logger, 'warn'>;
}

interface InFlight {
  readonly message: StoredMessage;
  readonly frame: string;
  readonly delivery: Delivery;
}

/** So many messages are sent before the first of them is acknowledged. */
const MAX_IN_FLIGHT = 128;
const READ_AGAIN_AFTER_MS = 1_000;

/**
 * Delivers the stored messages of a device over one socket, in their order. A message that isn't acknowledged is sent
 * again; later ones don't wait for it, because it has reached the device's end of the connection before them.
 */
export class Mailbox {
  readonly #inFlight = new Map<string, InFlight>();
  #after = 0n;
  #isReading = false;
  #mayHaveMore = false;
  #readAgainMs = 0;
  #isClosed = false;

  constructor(private readonly ports: MailboxPorts) {}

  /** There may be messages to read. */
  wake(): void {
    this.#mayHaveMore = true;
    if (this.#isReading || this.#isClosed || this.#inFlight.size >= MAX_IN_FLIGHT) return;
    this.#isReading = true;
    this.#read()
      .catch((error: unknown) => {
        this.#mayHaveMore = true;
        this.#readAgainMs = awakeNowMs() + READ_AGAIN_AFTER_MS;
        this.ports.log.warn({ err: error }, "a device's messages could not be read; trying again");
      })
      .finally(() => {
        this.#isReading = false;
        // What was acknowledged while the last messages were read has made room.
        if (this.#mayHaveMore && this.#readAgainMs <= awakeNowMs()) this.wake();
      });
  }

  /** The message was stored just now. Unless one before it wasn't sent yet, it is sent without reading it. */
  stored(message: StoredMessage): void {
    const hasRoom = this.#inFlight.size < MAX_IN_FLIGHT;
    const isNext = message.place === this.#after + 1n && !this.#isReading && !this.#mayHaveMore;
    if (isNext && hasRoom && !this.#isClosed) this.#send(message);
    else if (message.place > this.#after) this.wake();
  }

  acknowledged(id: string): void {
    this.#inFlight.delete(id);
    if (this.#mayHaveMore) this.wake();
  }

  tick(nowMs: number): void {
    for (const [id, inFlight] of this.#inFlight) {
      const { delivery, shouldSend } = dueAt(inFlight.delivery, nowMs);
      if (shouldSend) this.ports.send(inFlight.frame);
      if (delivery.tag === 'waiting') this.#inFlight.set(id, { ...inFlight, delivery });
      else {
        this.#inFlight.delete(id);
        this.ports.gaveUp(inFlight.message);
      }
    }
    if (this.#mayHaveMore && this.#readAgainMs <= nowMs) this.wake();
  }

  /** The socket is closed. @returns the messages that were sent and not acknowledged */
  close(): readonly StoredMessage[] {
    this.#isClosed = true;
    const unacknowledged = [...this.#inFlight.values()].map(({ message }) => message);
    this.#inFlight.clear();
    return unacknowledged;
  }

  async #read(): Promise<void> {
    while (this.#mayHaveMore) {
      const room = MAX_IN_FLIGHT - this.#inFlight.size;
      if (room <= 0) return;
      this.#mayHaveMore = false;
      const messages = await this.ports.read(this.#after, room);
      if (this.#isClosed) return;
      for (const message of messages) this.#send(message);
      if (messages.length === room) this.#mayHaveMore = true;
    }
  }

  #send(message: StoredMessage): void {
    const { id, from, msg, place, ageMs } = message;
    this.#after = place;
    if (this.ports.isAcknowledged(id)) return;
    const name = ageMs > this.ports.connectedForMs() ? 'PopOffLineMessage' : 'PopMessage';
    const frame = encodeEvent(cloudMessageOf(name, msg, from, id));
    this.#inFlight.set(id, { message, frame, delivery: sentFirst(MESSAGE_FLAG.acknowledged, awakeNowMs()) });
    this.ports.send(frame);
  }
}
