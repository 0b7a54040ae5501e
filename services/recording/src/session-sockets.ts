import type { CredentialWatch } from '@weir/access';
import { awakeNowMs } from '@weir/platform';
import type { ClientSocket } from '@weir/platform/sockets';
import type { Generation, Refusal } from '@weir/protocol-eyeson';
import { SessionSocket, type SessionSocketPorts, type SocketHolder } from './session-socket.js';

export interface SessionSocketsPorts {
  readonly credentials: Pick<CredentialWatch, 'watch'>;
  readonly socket: Omit<SessionSocketPorts, 'makeWay' | 'ended' | 'background'>;
  readonly maxSockets: number;
}

const TICK_INTERVAL_MS = 200;
/** A client that doesn't answer a ping in this time gives way to its successor. */
const ANSWER_WITHIN_MS = 1_000;

const SECOND: Refusal = { code: 'ALREADY_EXISTS', message: 'This client has a live session: end it first' };

/** The sockets of this instance. */
export class SessionSockets {
  readonly #open = new Set<SessionSocket>();
  /** Sockets that are closed and whose sessions' ends are being stored. */
  readonly #ending = new Set<SessionSocket>();
  readonly #work = new Set<Promise<void>>();
  readonly #ticker: NodeJS.Timeout;
  readonly #stopListening: () => void;
  #isDraining = false;

  constructor(private readonly ports: SessionSocketsPorts) {
    this.#ticker = setInterval(() => this.#tick(), TICK_INTERVAL_MS);
    this.#stopListening = ports.socket.recorder.onEnded((id, reason) => {
      for (const socket of [...this.#open]) socket.recordingEnded(id, reason);
    });
  }

  get hasRoom(): boolean {
    return !this.#isDraining && this.#open.size < this.ports.maxSockets;
  }

  open(socket: ClientSocket, holder: SocketHolder, generation: Generation): SessionSocket {
    const stopWatching = this.ports.credentials.watch([holder.credential], () =>
      opened.take({ tag: 'terminate', cause: 'TOKEN_EXPIRED' }),
    );
    const opened: SessionSocket = new SessionSocket(socket, holder, generation, {
      ...this.ports.socket,
      makeWay: (of, successor) => this.makeWay(of, successor),
      background: (work) => this.#background(work),
      ended: () => {
        this.#open.delete(opened);
        this.#ending.add(opened);
        this.#background(opened.stored.then(() => void this.#ending.delete(opened)));
        stopWatching();
      },
    });
    this.#open.add(opened);
    return opened;
  }

  /**
   * A client has one session at a time. A new one replaces it only if the client is no longer heard on the old one,
   * because it has reloaded its page or lost its network.
   */
  async makeWay(holder: SocketHolder, successor?: SessionSocket): Promise<Refusal | undefined> {
    if (holder.tag !== 'client') return undefined;
    for (const other of [...this.#open]) {
      if (other === successor || !other.isLive || !isSameClient(other.holder, holder)) continue;
      if (await other.answers(ANSWER_WITHIN_MS)) return SECOND;
      other.take({ tag: 'terminate', cause: 'SESSION_REPLACED' });
    }
    const ending = [...this.#ending].filter((other) => isSameClient(other.holder, holder));
    await Promise.all(ending.map((other) => other.stored));
    return undefined;
  }

  /** Ends every session; resolves when the ends are stored. */
  async drain(): Promise<void> {
    this.#isDraining = true;
    for (const socket of [...this.#open]) socket.take({ tag: 'terminate', cause: 'SERVER_SHUTDOWN' });
    while (this.#work.size > 0) await Promise.all(this.#work);
  }

  close(): void {
    clearInterval(this.#ticker);
    this.#stopListening();
  }

  #background(work: Promise<void>): void {
    const done = work.finally(() => this.#work.delete(done));
    this.#work.add(done);
  }

  #tick(): void {
    const nowMs = awakeNowMs();
    for (const socket of this.#open) if (socket.deadlineMs <= nowMs) socket.take({ tag: 'tick' });
  }
}

const isSameClient = (one: SocketHolder, other: SocketHolder): boolean =>
  one.tag === 'client' && one.tenant === other.tenant && one.apiId === other.apiId && one.clientId === other.clientId;
