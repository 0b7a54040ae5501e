import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { z } from 'zod';
import type { SeededRandom } from './seeded-random.js';

const cloudMessage = z.object({ Name: z.string(), Message: z.string(), id: z.string() });

/** Connected and away for so long, on average: half of the time each. */
const PERIOD_MS = { min: 200, spread: 2_600 };
const RETRY_MS = 100;
/** Of a device that goes away no more. */
const MAX_PAUSE_MS = 60_000;

export interface AwayDevicePorts {
  readonly cid: number;
  readonly token: string;
  readonly random: SeededRandom;
  /** An instance that is up, if there is one. */
  readonly instanceUrl: () => string | undefined;
}

/** A device whose connection comes and goes, with an application that looks at the ids of messages. */
export class AwayDevice {
  /** The texts of the messages, each id once, in the order of their first arrival. */
  readonly texts: string[] = [];
  /** Messages that came again under an id that was known. */
  repeated = 0;
  /** Messages that were stored before they were delivered. */
  stored = 0;
  connections = 0;
  connectedMs = 0;
  readonly #ids = new Set<string>();
  #isStaying = false;
  #isOver = false;
  #socket: WebSocket | undefined;
  /** Ends a pause of the device's life before its time. */
  #interrupt: () => void = () => undefined;
  readonly #living: Promise<void>;

  constructor(private readonly ports: AwayDevicePorts) {
    this.#living = this.#live();
  }

  /** Goes away no more. */
  stay(): void {
    this.#isStaying = true;
    this.#interrupt();
  }

  async end(): Promise<void> {
    this.#isOver = true;
    this.#interrupt();
    this.#socket?.terminate();
    await this.#living;
  }

  async #live(): Promise<void> {
    const { random } = this.ports;
    const periodMs = () => PERIOD_MS.min + random.below(PERIOD_MS.spread);
    while (!this.#isOver) {
      if (!this.#isStaying) await this.#pause(periodMs());
      const socket = await this.#connect();
      if (socket === undefined) {
        await sleep(RETRY_MS);
        continue;
      }
      const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
      const beganMs = performance.now();
      const leaveAtMs = beganMs + periodMs();
      const shouldStay = () => !this.#isOver && (this.#isStaying || performance.now() < leaveAtMs);
      while (socket.readyState === WebSocket.OPEN && shouldStay())
        await Promise.race([closed, this.#pause(this.#isStaying ? MAX_PAUSE_MS : leaveAtMs - performance.now())]);
      this.connectedMs += performance.now() - beganMs;
      // Half of them say that they go.
      if (random.below(2) === 0) socket.terminate();
      else socket.close();
      await closed;
    }
  }

  async #pause(forMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, forMs);
      this.#interrupt = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async #connect(): Promise<WebSocket | undefined> {
    const url = this.ports.instanceUrl();
    if (url === undefined) return undefined;
    const socket = new WebSocket(`${url.replace('http:', 'ws:')}/v2/device/channel?client_token=${this.ports.token}`, {
      perMessageDeflate: false,
    });
    this.#socket = socket;
    socket.on('message', (data: Buffer) => this.#hear(socket, data.toString()));
    const isOpen = await new Promise<boolean>((resolve) => {
      socket.once('open', () => resolve(true));
      socket.once('error', () => resolve(false));
    });
    if (!isOpen) return undefined;
    this.connections += 1;
    return socket;
  }

  #hear(socket: WebSocket, text: string): void {
    const { Name: name, Message: message, id } = cloudMessage.parse(JSON.parse(text));
    if (this.#ids.has(id)) this.repeated += 1;
    else {
      this.#ids.add(id);
      this.texts.push(Buffer.from(message, 'base64').toString());
      if (name === 'PopOffLineMessage') this.stored += 1;
    }
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: 'ack', id }));
  }
}
