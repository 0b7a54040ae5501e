import type { Socket } from 'node:net';

/** How long a peer may take to read the rest and to close its side. */
const CLOSE_TIMEOUT_MS = 2_000;

/**
 * The writing half of a peer's connection. A peer that doesn't read costs no more than a bounded number of bytes, and one
 * that doesn't close costs no more than a bounded time.
 */
export class BoundedSocket {
  private closing: NodeJS.Timeout | undefined;

  constructor(
    readonly socket: Socket,
    private readonly onCutOff: () => void,
  ) {
    socket.once('close', () => clearTimeout(this.closing));
  }

  /** Sends; cuts the peer off when more than `maxUnreadBytes` would be unread then. */
  send(bytes: Buffer, maxUnreadBytes: number): void {
    if (!this.socket.writable) return;
    if (this.socket.writableLength + bytes.length <= maxUnreadBytes) {
      this.socket.write(bytes);
      return;
    }
    this.onCutOff();
    this.socket.destroy();
  }

  /** Closes it behind what was sent. */
  end(): void {
    this.socket.end();
    this.closing ??= setTimeout(() => this.socket.destroy(), CLOSE_TIMEOUT_MS);
  }
}
