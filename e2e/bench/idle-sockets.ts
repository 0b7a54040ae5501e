import { WebSocket } from 'ws';
import { quantile } from './samples.js';

export interface OpeningFigures {
  count: number;
  elapsedMs: number;
  perS: number;
  /** From the start of the handshake to the server's first answer. */
  p50Ms: number;
  p99Ms: number;
}

/** How many handshakes run at the same time. */
const CONCURRENCY = 64;
const OPEN_TIMEOUT_MS = 60_000;
const CONNECTION = JSON.stringify({
  message: 'connection',
  data: [{ appKey: 'defaultApp', mediaProviders: ['WebRTC'], clientVersion: '2.0' }],
});
const PONG = JSON.stringify({ message: 'pong', data: [null] });

/** Many clients that have sent `connection`, have been answered, and answer pings from then on. */
export class IdleSockets {
  readonly #sockets: WebSocket[] = [];
  #closedEarly = 0;
  #closing = false;
  /** How many of the server's pings were answered. */
  pings = 0;

  /** How many sockets the server has closed after they were open. */
  get lost(): number {
    return this.#closedEarly;
  }

  /** Opens the sockets, some at a time, and waits until each has its answer. */
  async open(url: string, count: number): Promise<OpeningFigures> {
    const latenciesMs: number[] = [];
    let begun = 0;
    const startedMs = performance.now();
    const openNext = async () => {
      while (begun < count) {
        begun += 1;
        const beganMs = performance.now();
        this.#sockets.push(await this.#openOne(url));
        latenciesMs.push(performance.now() - beganMs);
      }
    };
    await Promise.all(Array.from({ length: CONCURRENCY }, openNext));
    const elapsedMs = performance.now() - startedMs;
    return {
      count: this.#sockets.length,
      elapsedMs,
      perS: (this.#sockets.length * 1_000) / elapsedMs,
      p50Ms: quantile(latenciesMs, 0.5),
      p99Ms: quantile(latenciesMs, 0.99),
    };
  }

  async close(): Promise<void> {
    this.#closing = true;
    const sockets = this.#sockets.splice(0);
    await Promise.all(
      sockets.map(
        (socket) =>
          new Promise<void>((resolve) => {
            if (socket.readyState === WebSocket.CLOSED) resolve();
            else socket.once('close', () => resolve()).terminate();
          }),
      ),
    );
  }

  #openOne(url: string): Promise<WebSocket> {
    const socket = new WebSocket(url, { perMessageDeflate: false, handshakeTimeout: OPEN_TIMEOUT_MS });
    return new Promise((resolve, reject) => {
      let answered = false;
      const timer = setTimeout(() => reject(new Error('a session got no answer within 60 s')), OPEN_TIMEOUT_MS);
      socket.on('open', () => socket.send(CONNECTION));
      socket.on('message', (data: Buffer) => {
        const text = data.toString('latin1');
        if (text.startsWith('{"message":"ping"')) {
          this.pings += 1;
          socket.send(PONG);
        } else if (!answered && text.startsWith('{"message":"getUserData"')) {
          answered = true;
          clearTimeout(timer);
          resolve(socket);
        }
      });
      socket.on('error', reject);
      socket.on('close', (code) => {
        clearTimeout(timer);
        if (!answered) reject(new Error(`a session was closed with ${code} instead of being answered`));
        else if (!this.#closing) this.#closedEarly += 1;
      });
    });
  }
}
