/** The flag of a message says how long delivery is tried. */
export const MESSAGE_FLAG = {
  /** Until it is acknowledged: sent, and sent again up to five times, and then kept until the device comes back. */
  acknowledged: 2,
  /** Sent once, if the device is connected, and forgotten. */
  once: 3,
} as const;
export type MessageFlag = (typeof MESSAGE_FLAG)[keyof typeof MESSAGE_FLAG];

/** The pauses after each sending of an acknowledged message. After the last one, the device doesn't answer. */
export const RETRY_PAUSES_MS: readonly number[] = [1_000, 2_000, 3_000, 5_000, 5_000];

export const MAX_SENDINGS = 1 + RETRY_PAUSES_MS.length;

/** What becomes of one message on one connection of its device. */
export type Delivery =
  /** It is sent again at `nextAtMs` unless it is acknowledged before. */
  | { readonly tag: 'waiting'; readonly sendings: number; readonly nextAtMs: number }
  /** It was sent as often as it may be; it is kept, and sent again when the device connects. */
  | { readonly tag: 'stored' }
  /** Nothing more happens with it. */
  | { readonly tag: 'done' };

/** The delivery when the message is sent for the first time on a connection, at `nowMs`. */
export const sentFirst = (flag: MessageFlag, nowMs: number): Delivery => {
  switch (flag) {
    case MESSAGE_FLAG.once:
      return { tag: 'done' };
    case MESSAGE_FLAG.acknowledged:
      return waitingAfter(1, nowMs);
    default:
      return flag satisfies never;
  }
};

const waitingAfter = (sendings: number, nowMs: number): Delivery => ({
  tag: 'waiting',
  sendings,
  // The pause after the last sending is as long as the one before it.
  nextAtMs: nowMs + (RETRY_PAUSES_MS[sendings - 1] ?? RETRY_PAUSES_MS.at(-1) ?? 0),
});

/**
 * What happens at `nowMs`: the message is sent again if it is due, at most once however late the call is.
 *
 * @returns the delivery afterwards, and whether to send now
 */
export const dueAt = (
  delivery: Delivery,
  nowMs: number,
): { readonly delivery: Delivery; readonly shouldSend: boolean } => {
  switch (delivery.tag) {
    case 'waiting':
      if (nowMs < delivery.nextAtMs) return { delivery, shouldSend: false };
      if (delivery.sendings >= MAX_SENDINGS) return { delivery: { tag: 'stored' }, shouldSend: false };
      return { delivery: waitingAfter(delivery.sendings + 1, nowMs), shouldSend: true };
    case 'stored':
    case 'done':
      return { delivery, shouldSend: false };
    default:
      return delivery satisfies never;
  }
};

/** Remembers the ids of the last messages, so that a message that comes again is recognized. */
export class RecentIds {
  readonly #ids = new Set<string>();
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  has(id: string): boolean {
    return this.#ids.has(id);
  }

  /** Notes the id. @returns whether it is new */
  note(id: string): boolean {
    if (this.#ids.has(id)) return false;
    this.#ids.add(id);
    const [oldest] = this.#ids;
    if (this.#ids.size > this.#limit && oldest !== undefined) this.#ids.delete(oldest);
    return true;
  }
}
