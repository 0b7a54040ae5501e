import { once } from 'node:events';
import { waitFor } from '@weir/testing';
import { WebSocket } from 'ws';

export interface WcsMessage {
  message: string;
  data: unknown[];
}

/** A client that sends WCS frames by hand, for tests of what the SDK would never send. */
export class WcsSocket {
  readonly received: WcsMessage[] = [];
  closeCode: number | undefined;

  private constructor(readonly socket: WebSocket) {
    socket.on('message', (data: Buffer) => {
      const message = JSON.parse(data.toString()) as WcsMessage;
      this.received.push(message);
      if (message.message === 'ping') this.send('pong', null);
    });
    socket.on('close', (code) => {
      this.closeCode = code;
    });
    socket.on('error', () => undefined); // `close` follows
  }

  static async open(url: string): Promise<WcsSocket> {
    const socket = new WebSocket(url);
    const client = new WcsSocket(socket);
    await once(socket, 'open');
    return client;
  }

  static async connect(url: string, connection: Record<string, unknown> = {}): Promise<WcsSocket> {
    const client = await WcsSocket.open(url);
    client.send('connection', {
      appKey: 'defaultApp',
      mediaProviders: ['WebRTC'],
      clientVersion: '2.0',
      ...connection,
    });
    await client.wait('getUserData');
    return client;
  }

  send(message: string, ...data: unknown[]): void {
    this.socket.send(JSON.stringify({ message, data }));
  }

  /** Waits for the first message of this name whose first datum fits, and returns that datum. */
  async wait(
    message: string,
    fits: (first: Record<string, unknown>) => boolean = () => true,
    timeoutMs = 20_000,
  ): Promise<Record<string, unknown>> {
    return waitFor(
      () =>
        this.received
          .filter((received) => received.message === message)
          .map(({ data }) => data[0] as Record<string, unknown>)
          .find((first) => fits(first)) ?? false,
      { timeoutMs, what: `${message} (received: ${this.received.map((each) => each.message).join(', ')})` },
    );
  }

  async waitForClose(): Promise<number> {
    return waitFor(() => this.closeCode, { what: 'the close of the socket' });
  }

  close(): void {
    this.socket.terminate();
  }
}
