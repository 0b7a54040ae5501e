import type { Socket } from 'node:net';

export interface Traffic {
  receivedBytes: number;
  sentBytes: number;
}

/** The clients' open connections, and the bytes of all connections so far. */
export class ConnectionBook {
  readonly #open = new Set<Socket>();
  readonly #closed: Traffic = { receivedBytes: 0, sentBytes: 0 };

  enter(socket: Socket): void {
    if (this.#open.has(socket)) return;
    this.#open.add(socket);
    socket.once('close', () => {
      this.#open.delete(socket);
      this.#closed.receivedBytes += socket.bytesRead;
      this.#closed.sentBytes += socket.bytesWritten;
    });
  }

  /** Closes the connections on which the client has sent nothing; browsers open some in advance. */
  closeUnused(): void {
    for (const socket of this.#open) if (socket.bytesRead === 0) socket.destroy();
  }

  get size(): number {
    return this.#open.size;
  }

  get traffic(): Traffic {
    let { receivedBytes, sentBytes } = this.#closed;
    for (const socket of this.#open) {
      receivedBytes += socket.bytesRead;
      sentBytes += socket.bytesWritten;
    }
    return { receivedBytes, sentBytes };
  }
}
