import { WebSocket } from 'ws';

export interface ChannelPorts {
  readonly url: string;
  /** Called for each connection. May throw. */
  readonly token: () => string;
  readonly heard: (text: string, answer: (text: string) => void) => void;
  readonly log: (message: string) => void;
}

const FIRST_RETRY_MS = 1_000;
const MAX_RETRY_MS = 30_000;
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** The cloud pings every few seconds; after this long without a ping the connection is dead. */
const SILENT_AFTER_MS = 30_000;

/** The robot's socket to the cloud. When it is lost, it is opened again after 1 s, 2 s and so on up to 30 s. */
export class Channel {
  #socket: WebSocket | undefined;
  #retryTimer: NodeJS.Timeout | undefined;
  #silenceTimer: NodeJS.Timeout | undefined;
  #retryMs = FIRST_RETRY_MS;
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
      this.#retryMs = FIRST_RETRY_MS;
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
    const delayMs = Math.round(this.#retryMs * (0.75 + Math.random() / 4));
    this.ports.log(`not connected (${reason}), trying again in ${delayMs} ms`);
    this.#retryMs = Math.min(this.#retryMs * 2, MAX_RETRY_MS);
    this.#retryTimer = setTimeout(() => this.open(), delayMs);
  }
}
