import { backOffMs } from '@weir/timing';
import { WebSocket } from 'ws';

export interface ChannelPorts {
  readonly url: string;
  /** Called for each connection. May throw. */
  readonly token: () => string;
  readonly heard: (text: string, answer: (text: string) => void) => void;
  readonly log: (message: string) => void;
}

const RETRY_PACE = { firstMs: 1_000, maxMs: 30_000 };
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** The cloud pings every few seconds; after this long without a ping the connection is dead. */
const SILENT_AFTER_MS = 30_000;

/** The robot's socket to the cloud. When it is lost, it is opened again, at most 1 s later, then 2 s and so on up to 30 s. */
export class Channel {
  #socket: WebSocket | undefined;
  #retryTimer: NodeJS.Timeout | undefined;
  #silenceTimer: NodeJS.Timeout | undefined;
  #retries = 0;
  #isClosed = false;

  constructor(private readonly ports: ChannelPorts) {}

  open(): void {
    const { url, log } = this.ports;
    let token: string;
    try {
      token = this.ports.token();
    } catch (error) {
      this.#lost(`no token: ${error instanceof Error ? error.message : String(error)}`);
      return;
    }
    const socket = new WebSocket(url, {
      headers: { authorization: `Bearer ${token}` },
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      perMessageDeflate: false,
    });
    this.#socket = socket;
    let reason = '';
    socket.on('open', () => {
      this.#retries = 0;
      this.#alive();
      log(`connected to ${url}`);
    });
    socket.on('ping', () => this.#alive());
    socket.on('message', (data) => {
      this.#alive();
      // A reply goes over the socket that its request came from, because the cloud waits for it there.
      this.ports.heard(String(data), (text) => {
        if (socket.readyState === WebSocket.OPEN) socket.send(text);
      });
    });
    socket.on('error', (error) => {
      reason = error.message;
    });
    socket.on('close', (code, said) => {
      clearTimeout(this.#silenceTimer);
      this.#lost(reason || `${code} ${String(said)}`.trim());
    });
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#silenceTimer);
    this.#socket?.close(1001);
  }

  #alive(): void {
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = setTimeout(() => this.#socket?.terminate(), SILENT_AFTER_MS);
  }

  #lost(reason: string): void {
    if (this.#isClosed) return;
    // The random part keeps robots that were cut off together from coming back together.
    const delayMs = backOffMs(RETRY_PACE, this.#retries++, Math.random());
    this.ports.log(`not connected (${reason}), trying again in ${delayMs} ms`);
    this.#retryTimer = setTimeout(() => this.open(), delayMs);
  }
}
