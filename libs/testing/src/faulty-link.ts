import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net';

export interface FaultyLinkOptions {
  /** The port of the server that the link leads to, on the loopback interface. */
  readonly port: number;
  /** How long each byte takes, in each direction. Default 0; can be changed later. */
  readonly delayMs?: number;
}

/**
 * A TCP link to a server on this machine that lags, stalls and breaks on command. TCP doesn't lose single bytes, so
 * loss is a link that is cut (both ends learn of it) or held (neither does).
 */
export class FaultyLink {
  delayMs: number;
  readonly port: number;
  readonly #server: Server;
  readonly #target: number;
  readonly #pairs = new Set<Pair>();
  #held = false;
  #refusing = false;
  #refusals = 0;

  private constructor(server: Server, { port, delayMs = 0 }: FaultyLinkOptions) {
    this.#server = server;
    this.#target = port;
    this.delayMs = delayMs;
    this.port = (server.address() as AddressInfo).port;
    server.on('connection', (socket) => this.#accept(socket));
  }

  static async open(options: FaultyLinkOptions): Promise<FaultyLink> {
    const server = createServer({ allowHalfOpen: true });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    return new FaultyLink(server, options);
  }

  /** The server's URL with the port of the link. */
  through(url: string): string {
    const changed = new URL(url);
    changed.port = String(this.port);
    return changed.href.replace(/\/$/, '');
  }

  /** How many connections go through the link now. */
  get connections(): number {
    return this.#pairs.size;
  }

  /** How many connections it has refused. */
  get refusals(): number {
    return this.#refusals;
  }

  /** Resets every connection; bytes in transit are lost. New connections are accepted unless refuse() was called. */
  cut(): void {
    for (const pair of this.#pairs) pair.reset();
  }

  /** From now on nothing gets through in either direction, and neither end can tell. */
  hold(): void {
    this.#held = true;
  }

  /** Sends on what was held, complete and in order. */
  release(): void {
    this.#held = false;
    for (const pair of this.#pairs) pair.pump();
  }

  /** Resets every new connection at once. Existing connections stay. */
  refuse(): void {
    this.#refusing = true;
  }

  accept(): void {
    this.#refusing = false;
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.cut();
    await closed;
  }

  #accept(client: Socket): void {
    if (this.#refusing) {
      this.#refusals++;
      client.on('error', () => undefined);
      client.resetAndDestroy();
      return;
    }
    const server = connect({ port: this.#target, host: '127.0.0.1', allowHalfOpen: true });
    const pair = new Pair(client, server, {
      held: () => this.#held,
      delayMs: () => this.delayMs,
      ended: () => this.#pairs.delete(pair),
    });
    this.#pairs.add(pair);
  }
}

interface LinkState {
  held(): boolean;
  delayMs(): number;
  ended(): void;
}

/** A client's connection and its continuation to the server. */
class Pair {
  readonly #lanes: readonly Lane[];

  constructor(
    readonly client: Socket,
    readonly server: Socket,
    state: LinkState,
  ) {
    this.#lanes = [new Lane(client, server, state), new Lane(server, client, state)];
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      socket.on('error', () => this.reset());
      socket.on('close', () => {
        if (client.destroyed && server.destroyed) state.ended();
      });
    }
  }

  pump(): void {
    for (const lane of this.#lanes) lane.pump();
  }

  reset(): void {
    for (const lane of this.#lanes) lane.stop();
    this.client.resetAndDestroy();
    this.server.resetAndDestroy();
  }
}

type Parcel = { readonly dueMs: number } & ({ readonly tag: 'data'; readonly bytes: Buffer } | { readonly tag: 'end' });

/** One direction: bytes leave in the order in which they came, each when its delay is over and the link isn't held. */
class Lane {
  readonly #parcels: Parcel[] = [];
  #timer: NodeJS.Timeout | undefined;
  #lastDueMs = 0;
  #stopped = false;

  constructor(
    from: Socket,
    readonly to: Socket,
    readonly state: LinkState,
  ) {
    from.on('data', (bytes) => this.#take((dueMs) => ({ tag: 'data', bytes, dueMs })));
    from.on('end', () => this.#take((dueMs) => ({ tag: 'end', dueMs })));
  }

  stop(): void {
    this.#stopped = true;
    this.#parcels.length = 0;
    clearTimeout(this.#timer);
  }

  pump(): void {
    clearTimeout(this.#timer);
    if (this.#stopped || this.state.held()) return;
    for (let next = this.#parcels[0]; next !== undefined; next = this.#parcels[0]) {
      const waitMs = next.dueMs - performance.now();
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.pump(), Math.ceil(waitMs));
        return;
      }
      this.#parcels.shift();
      if (next.tag === 'data') this.to.write(next.bytes);
      else this.to.end();
    }
  }

  #take(parcel: (dueMs: number) => Parcel): void {
    this.#lastDueMs = Math.max(this.#lastDueMs, performance.now() + this.state.delayMs());
    this.#parcels.push(parcel(this.#lastDueMs));
    this.pump();
  }
}
