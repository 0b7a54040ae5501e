import { createSocket, type Socket } from 'node:dgram';
import { setTimeout as sleep } from 'node:timers/promises';
import { isRtcp } from '@weir/frames';
import { clockMs, stampOf, type Medium } from './relay-stream.js';

const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;
/** A packet that hasn't arrived by then counts as missing. */
const LATE_MS = 1_000;

/** What became of one stream's packets. Latencies in milliseconds, one for each packet that arrived at all places. */
export interface Passage {
  /** From the sender to the stream's source on the first server. */
  readonly atSource: readonly number[];
  /** What each hop adds. */
  readonly added: readonly (readonly number[])[];
  readonly sent: number;
  /** How many of the sent packets arrived everywhere. */
  readonly arrived: number;
}

interface Observed {
  readonly medium: Medium;
  readonly number: number;
  readonly sentMs: number;
  /** When the packet arrived, by the number of hops; filled in as it arrives. */
  readonly atMs: (number | undefined)[];
}

/** Receives one stream's RTP at the source and after each hop, and times it with one clock. */
export class HopReceiver {
  readonly #packets = new Map<number, Observed>();
  #isCounting = false;

  private constructor(private readonly sockets: readonly Socket[]) {
    for (const [hops, socket] of sockets.entries())
      socket.on('message', (packet: Buffer) => this.#receive(packet, hops));
  }

  /** @param places how many: the source and one after each hop */
  static async open(places: number): Promise<HopReceiver> {
    const sockets = await Promise.all(
      Array.from(
        { length: places },
        () =>
          new Promise<Socket>((resolve, reject) => {
            const socket = createSocket({ type: 'udp4', recvBufferSize: RECEIVE_BUFFER_BYTES });
            socket.once('error', reject).bind(0, '127.0.0.1', () => resolve(socket));
          }),
      ),
    );
    return new HopReceiver(sockets);
  }

  /** The address to which the stream must be sent after that many hops. */
  addressAfter(hops: number): { ip: string; port: number } {
    const socket = this.sockets[hops];
    if (socket === undefined) throw new RangeError(`nothing is received after ${hops} hops`);
    return { ip: '127.0.0.1', port: socket.address().port };
  }

  /** Whether both media have arrived at every place since `begin`. */
  get hasAll(): boolean {
    const arrived = [...this.#packets.values()].filter(({ atMs }) => this.#isEverywhere(atMs));
    return (['audio', 'video'] as const).every((kind) => arrived.some(({ medium }) => medium === kind));
  }

  /** Begins to record packets. */
  begin(): void {
    this.#packets.clear();
    this.#isCounting = true;
  }

  /** Observes the packets that are sent in the next `windowMs`. */
  async watch(windowMs: number): Promise<Passage> {
    const startMs = clockMs();
    this.begin();
    await sleep(windowMs + LATE_MS);
    this.#isCounting = false;
    const seen = [...this.#packets.values()].filter(({ sentMs }) => sentMs >= startMs && sentMs < startMs + windowMs);
    const numbers = seen.map(({ number }) => number);
    const arrived = seen.flatMap(({ sentMs, atMs }) => (this.#isEverywhere(atMs) ? [{ sentMs, atMs }] : []));
    this.#packets.clear();
    return {
      atSource: arrived.map(({ sentMs, atMs: [first = NaN] }) => first - sentMs),
      added: this.sockets
        .slice(1)
        .map((_, hop) => arrived.map(({ atMs }) => (atMs[hop + 1] ?? NaN) - (atMs[hop] ?? NaN))),
      sent: Math.max(...numbers) - Math.min(...numbers) + 1,
      arrived: arrived.length,
    };
  }

  close(): void {
    for (const socket of this.sockets) socket.close();
  }

  #isEverywhere(atMs: readonly (number | undefined)[]): boolean {
    return this.sockets.every((_, hops) => atMs[hops] !== undefined);
  }

  #receive(packet: Buffer, hops: number): void {
    const nowMs = clockMs();
    if (!this.#isCounting || isRtcp(packet)) return;
    const stamp = stampOf(packet);
    const observed: Observed = this.#packets.get(stamp.number) ?? { ...stamp, atMs: [] };
    this.#packets.set(stamp.number, observed);
    observed.atMs[hops] ??= nowMs;
  }
}
