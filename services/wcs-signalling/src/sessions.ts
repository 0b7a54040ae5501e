import { randomUUID } from 'node:crypto';
import type { Logger } from '@weir/platform';
import { CLOSE } from '@weir/protocol-wcs';
import type { MediaEffects } from './media-effects.js';
import type { Load } from './metrics.js';
import { Session, type ClientSocket, type SessionPorts, type Visit } from './session.js';

const TICK_INTERVAL_MS = 200;
const LATE_TICK_MS = 1_000;

export interface SessionsPorts {
  readonly media: MediaEffects;
  readonly session: Omit<SessionPorts, 'media' | 'background' | 'log'>;
  readonly log: Logger;
  readonly maxSessions: number;
}

/** The WCS sessions of this instance; one ticker serves all their deadlines. */
export class Sessions {
  readonly #sessions = new Map<string, Session>();
  readonly #background = new Set<Promise<void>>();
  readonly #ticker: NodeJS.Timeout;
  /** All sessions share these ports. */
  readonly #sessionPorts: SessionPorts;
  #opened = 0;
  #tickedMs = Date.now();
  #draining = false;

  constructor(private readonly ports: SessionsPorts) {
    const { session, media, log } = ports;
    this.#sessionPorts = { ...session, media, log, background: (work) => this.#keep(work) };
    this.#ticker = setInterval(() => this.#tick(), TICK_INTERVAL_MS);
  }

  /** Whether one more session may be opened. */
  get hasRoom(): boolean {
    return !this.#draining && this.#sessions.size < this.ports.maxSessions;
  }

  open(socket: ClientSocket, visit: Omit<Visit, 'key' | 'number'>): Session {
    this.#opened += 1;
    const opened = new Session(this.#sessionPorts, socket, { ...visit, key: randomUUID(), number: this.#opened });
    this.#sessions.set(opened.key, opened);
    return opened;
  }

  /** Must be called when the session's socket is closed. */
  closed(session: Session): void {
    session.take({ tag: 'socket-closed' });
    this.#sessions.delete(session.key);
  }

  get load(): Load {
    let publishers = 0;
    let players = 0;
    for (const session of this.#sessions.values())
      for (const stream of session.streams)
        if (stream.direction === 'publish') publishers += 1;
        else players += 1;
    return { sessions: this.#sessions.size, publishers, players };
  }

  list(): IterableIterator<Session> {
    return this.#sessions.values();
  }

  find(key: string): Session | undefined {
    return this.#sessions.get(key);
  }

  /** The session that a stream belongs to. The stream's id begins with the session's key. */
  ownerOf(streamId: string): Session | undefined {
    return this.#sessions.get(streamId.slice(0, streamId.lastIndexOf('.')));
  }

  /** Refuses new sessions, ends every session and waits until the media core knows. */
  async drain(): Promise<void> {
    this.#draining = true;
    for (const session of this.#sessions.values())
      session.take({ tag: 'terminate', code: CLOSE.goingAway, info: 'The server is going down' });
    while (this.#background.size > 0) await Promise.all(this.#background);
  }

  close(): void {
    clearInterval(this.#ticker);
    this.#sessions.clear();
  }

  #keep(work: Promise<void>): void {
    this.#background.add(work);
    work
      .catch((error: unknown) => this.ports.log.error({ err: error }, 'work in the background failed'))
      .finally(() => this.#background.delete(work));
  }

  #tick(): void {
    const nowMs = Date.now();
    const isLate = nowMs - this.#tickedMs > LATE_TICK_MS;
    this.#tickedMs = nowMs;
    // The process was paused. It must first read what clients have sent meanwhile, before it counts their silence.
    if (isLate) return;
    for (const session of this.#sessions.values()) if (session.deadlineMs <= nowMs) session.take({ tag: 'tick' });
  }
}
