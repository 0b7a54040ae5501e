import { connect, type Socket } from 'node:net';

export interface RawClientOptions {
  port: number;
  /** The loopback address from which this client connects. */
  address: string;
}

/** A client that can send arbitrary bytes. */
export class RawClient {
  received = '';
  closed = false;
  /** The other side has closed its half of the connection or all of it; noticed only while the client reads. */
  dropped = false;

  private constructor(readonly socket: Socket) {
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => {
      this.received += text;
    });
    socket.on('error', () => undefined); // `close` follows
    socket.on('end', () => {
      this.dropped = true;
    });
    socket.on('close', () => {
      this.closed = true;
      this.dropped = true;
    });
  }

  static open({ port, address }: RawClientOptions): Promise<RawClient> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', localAddress: address, allowHalfOpen: true });
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new RawClient(socket));
      });
    });
  }

  static openMany(count: number, options: RawClientOptions): Promise<RawClient[]> {
    return Promise.all(Array.from({ length: count }, () => RawClient.open(options)));
  }

  /** The status of the first answer; undefined while there is none. */
  get statusCode(): number | undefined {
    const code = /^HTTP\/1\.1 (\d{3}) /.exec(this.received)?.[1];
    return code === undefined ? undefined : Number(code);
  }

  /** Sends without waiting: an attacker doesn't care whether its bytes are accepted. */
  send(bytes: string | Uint8Array): void {
    if (this.socket.writable) this.socket.write(bytes);
  }

  /** Resolves when something has come back or the connection is closed. */
  answered(): Promise<void> {
    return new Promise((resolve) => {
      if (this.closed) return resolve();
      const settle = () => {
        this.socket.off('data', settle).off('close', settle);
        resolve();
      };
      this.socket.on('data', settle).on('close', settle);
    });
  }

  /** Closes the connection, with a reset or normally. */
  breakOff(how: 'reset' | 'end' | 'destroy'): void {
    switch (how) {
      case 'reset':
        this.socket.resetAndDestroy();
        return;
      case 'end':
        this.socket.end();
        return;
      case 'destroy':
        this.socket.destroy();
        return;
      default:
        how satisfies never;
    }
  }
}

/** A random loopback address for one attack, so that limits for this address affect nobody else. */
export const addressOf = (random: { below(bound: number): number }): string =>
  `127.${1 + random.below(250)}.${random.below(256)}.${1 + random.below(254)}`;
