import type { Socket } from 'node:net';

/** How long the second socket may take to close after the first. */
const LINGER_MS = 5_000;

/**
 * Joins two sockets: each one's bytes go to the other unchanged and uninspected. A socket is not read while the other
 * side takes nothing, so no more than the sockets' own buffers is ever held. When one ends or breaks, the other is
 * ended after the bytes in transit, and destroyed if that takes longer than five seconds.
 */
export class Splice {
  #lingering: NodeJS.Timeout | undefined;
  #open = 2;

  constructor(
    private readonly client: Socket,
    private readonly service: Socket,
    private readonly onClosed: () => void,
  ) {
    this.#join(client, service);
    this.#join(service, client);
  }

  /** Bytes that one side has sent and the other has not yet taken. */
  get heldBytes(): number {
    return [this.client, this.service].reduce((sum, socket) => sum + socket.readableLength + socket.writableLength, 0);
  }

  /** Ends both sockets. */
  end(): void {
    this.client.end();
    this.service.end();
    this.#linger();
  }

  destroy(): void {
    this.client.destroy();
    this.service.destroy();
  }

  #join(from: Socket, to: Socket): void {
    from.on('data', (chunk: Buffer) => {
      if (to.writable && !to.write(chunk)) from.pause();
    });
    to.on('drain', () => from.resume());
    from.on('end', () => {
      to.end();
      this.#linger();
    });
    // Every error is followed by 'close', which is handled.
    from.on('error', () => undefined);
    from.on('close', () => {
      to.end();
      // While it is paused for a side that is gone, the other socket would never notice its own end.
      to.resume();
      this.#linger();
      this.#open -= 1;
      if (this.#open > 0) return;
      clearTimeout(this.#lingering);
      this.onClosed();
    });
  }

  #linger(): void {
    this.#lingering ??= setTimeout(() => this.destroy(), LINGER_MS).unref();
  }
}
