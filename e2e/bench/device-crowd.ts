import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';

/** How many handshakes run at the same time. */
const CONCURRENCY = 64;
const OPEN_TIMEOUT_MS = 60_000;

/** Many devices that are connected, each at a URL of its own, and acknowledge messages. */
export class DeviceCrowd {
  readonly #sockets: (WebSocket | undefined)[] = [];
  #isClosing = false;
  /** How many sockets the server has closed. */
  lost = 0;

  constructor(
    readonly count: number,
    private readonly urlOf: (index: number) => string,
    /** A text frame of the server, to the device with this index. */
    private readonly heard: (index: number, text: string, socket: WebSocket) => void = () => undefined,
  ) {}

  /** @returns how many were opened per second */
  async open(): Promise<number> {
    const startedMs = performance.now();
    let begun = 0;
    const openNext = async () => {
      while (begun < this.count) {
        const index = begun++;
        await this.connect(index);
      }
    };
    await Promise.all(Array.from({ length: CONCURRENCY }, openNext));
    return (this.count * 1_000) / (performance.now() - startedMs);
  }

  async connect(index: number): Promise<void> {
    const socket = new WebSocket(this.urlOf(index), { perMessageDeflate: false, handshakeTimeout: OPEN_TIMEOUT_MS });
    await new Promise<void>((resolve, reject) => {
      socket.once('open', resolve).once('error', reject);
    });
    this.#sockets[index] = socket;
    socket.on('error', () => undefined); // `close` follows
    socket.on('message', (data: Buffer) => this.heard(index, data.toString(), socket));
    socket.on('close', () => {
      if (!this.#isClosing && this.#sockets[index] === socket) this.lost += 1;
    });
  }

  /** Ends the device's connection as if its network were gone, and connects it again. */
  async reconnect(index: number): Promise<void> {
    const socket = this.#sockets[index];
    this.#sockets[index] = undefined;
    socket?.terminate();
    await this.connect(index);
  }

  /** Devices go and come, so many per second, one after the other. @returns how many */
  async churn(perS: number, durationMs: number): Promise<number> {
    const startedMs = performance.now();
    const under = new Set<Promise<void>>();
    let done = 0;
    for (; performance.now() - startedMs < durationMs; done++) {
      await sleep(Math.max(0, startedMs + (done * 1_000) / perS - performance.now()));
      const reconnecting: Promise<void> = this.reconnect((done * 7) % this.count).finally(() =>
        under.delete(reconnecting),
      );
      under.add(reconnecting);
    }
    await Promise.all(under);
    return done;
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    await Promise.all(
      this.#sockets.map(
        (socket) =>
          new Promise<void>((resolve) => {
            if (socket === undefined || socket.readyState === WebSocket.CLOSED) resolve();
            else socket.once('close', () => resolve()).terminate();
          }),
      ),
    );
  }
}
