import type { Socket } from 'node:net';

/** The time that the other end has to read the rest and to close its side. */
const CLOSE_TIMEOUT_MS = 2_000;

/**
 * The writing half of a connection. If the other end doesn't read, a bounded number of bytes is kept for it; if it
 * doesn't close its side, the socket is kept for a bounded time.
 */
export class BoundedSocket {
  #closing: NodeJS.Timeout | undefined;

  constructor(
    readonly socket: Socket,
    private readonly onCutOff: () => void,
  ) {
    socket.once('close', () => clearTimeout(this.#closing));
  }

  /** Sends the bytes. Cuts the other end off instead when that would leave more than `maxUnreadBytes` unread. */
  send(bytes: Buffer, maxUnreadBytes: number): void {
    if (!this.socket.writable) return;
    if (this.socket.writableLength + bytes.length <= maxUnreadBytes) {
      this.socket.write(bytes);
      return;
    }
    this.onCutOff();
    this.socket.destroy();
  }

  /** Closes the connection after the bytes that were sent. */
  end(): void {
    this.socket.end();
    this.#closing ??= setTimeout(() => this.socket.destroy(), CLOSE_TIMEOUT_MS);
  }
}
