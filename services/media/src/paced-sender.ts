/** This many packets fit into any receiver's socket, and the receiver has read them by the end of the pause. */
const PACKETS_AT_ONCE = 20;
const PAUSE_MS = 1;

/** Sends new packets at once, and those that had piled up in small groups, so that receivers lose none. */
export class PacedSender {
  #waiting: Uint8Array[];
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;
  /** Resolves when the piled-up packets have been sent, or the sender is closed. */
  readonly caughtUp: Promise<void>;
  readonly #settle: () => void;

  /** @param after resolves before the first of the `piledUp` packets is sent */
  constructor(
    piledUp: readonly Uint8Array[],
    private readonly send: (packet: Uint8Array) => void,
    after: Promise<void> = Promise.resolve(),
  ) {
    this.#waiting = [...piledUp];
    let settle: () => void = () => undefined;
    this.caughtUp = new Promise((resolve) => {
      settle = resolve;
    });
    this.#settle = settle;
    if (piledUp.length === 0) settle();
    else void after.then(() => this.#sendSome());
  }

  push(packet: Uint8Array): void {
    if (this.#isClosed) return;
    if (this.#waiting.length > 0) this.#waiting.push(packet);
    else this.send(packet);
  }

  close(): void {
    this.#isClosed = true;
    this.#waiting = [];
    clearTimeout(this.#timer);
    this.#settle();
  }

  #sendSome(): void {
    for (const packet of this.#waiting.splice(0, PACKETS_AT_ONCE)) this.send(packet);
    if (this.#waiting.length === 0) this.#settle();
    else this.#timer = setTimeout(() => this.#sendSome(), PAUSE_MS);
  }
}
