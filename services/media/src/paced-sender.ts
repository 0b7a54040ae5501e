/** A receiver's socket holds so many packets for certain, and a moment later it has read them. */
const PACKETS_AT_ONCE = 20;
const PAUSE_MS = 1;

/** Sends at once what comes, but what has piled up at the beginning in pieces, so that a receiver can take it. */
export class PacedSender {
  private waiting: Uint8Array[];
  private timer: NodeJS.Timeout | undefined;
  private isClosed = false;
  /** All that had piled up has been sent, or never will be. */
  readonly caughtUp: Promise<void>;
  private readonly settle: () => void;

  /** @param after what must be over before the first packet */
  constructor(
    piledUp: readonly Uint8Array[],
    private readonly send: (packet: Uint8Array) => void,
    after: Promise<void> = Promise.resolve(),
  ) {
    this.waiting = [...piledUp];
    let settle: () => void = () => undefined;
    this.caughtUp = new Promise((resolve) => {
      settle = resolve;
    });
    this.settle = settle;
    if (piledUp.length === 0) settle();
    else void after.then(() => this.sendSome());
  }

  push(packet: Uint8Array): void {
    if (this.isClosed) return;
    if (this.waiting.length > 0) this.waiting.push(packet);
    else this.send(packet);
  }

  close(): void {
    this.isClosed = true;
    this.waiting = [];
    clearTimeout(this.timer);
    this.settle();
  }

  private sendSome(): void {
    for (const packet of this.waiting.splice(0, PACKETS_AT_ONCE)) this.send(packet);
    if (this.waiting.length === 0) this.settle();
    else this.timer = setTimeout(() => this.sendSome(), PAUSE_MS);
  }
}
