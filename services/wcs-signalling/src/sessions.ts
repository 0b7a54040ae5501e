import { randomUUID } from 'node:crypto';
import type { Bus } from '@weir/bus';
import { MediaEvents, type SessionChanged } from '@weir/contracts';
import type { Logger } from '@weir/platform';
import { CLOSE, type PeerId, type Stream } from '@weir/protocol-wcs';
import { mediaEventOf } from './contract.js';
import type { MediaClient } from './media.js';
import type { Load } from './metrics.js';
import { Session, type ClientSocket, type SessionPorts, type Visit } from './session.js';

const TICK_INTERVAL_MS = 200;
const LATE_TICK_MS = 1_000;
/** A live stream that the media core hasn't spoken of for so long is asked about. */
const SILENT_AFTER_MS = 15_000;
const SILENCE_CHECK_INTERVAL_MS = 5_000;
const MAX_ASKED_AT_ONCE = 200;

export interface SessionsPorts {
  readonly bus: Pick<Bus, 'subscribe' | 'onConnectionChange' | 'connected'>;
  readonly media: MediaClient;
  readonly session: Omit<SessionPorts, 'media' | 'background' | 'log'>;
  readonly log: Logger;
  readonly maxSessions: number;
}

/** The WCS sessions of this instance; one ticker serves all their deadlines. */
export class Sessions {
  readonly #sessions = new Map<string, Session>();
  readonly #background = new Set<Promise<void>>();
  /** When the media core last spoke of a stream. */
  readonly #heardMs = new Map<string, number>();
  readonly #registrations: { close(): Promise<void> }[];
  readonly #stopWatchingConnection: () => void;
  readonly #ticker: NodeJS.Timeout;
  /** Shared by all. */
  readonly #sessionPorts: SessionPorts;
  #opened = 0;
  #tickedMs = Date.now();
  #nextSilenceCheckMs = 0;
  #draining = false;

  constructor(private readonly ports: SessionsPorts) {
    const { bus, session, media, log } = ports;
    this.#sessionPorts = { ...session, media, log, background: (work) => this.#keep(work) };
    this.#registrations = [bus.subscribe(MediaEvents.method.sessionChanged, (change) => this.#sessionChanged(change))];
    // What was said while there was no connection is lost: every stream is asked about.
    this.#stopWatchingConnection = bus.onConnectionChange(() => {
      this.#heardMs.clear();
      this.#nextSilenceCheckMs = 0;
    });
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

  /** The socket is gone. */
  closed(session: Session): void {
    session.take({ type: 'socket-closed' });
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

  /** The session that a stream belongs to: its key is the stem of the stream's id. */
  ownerOf(peerId: string): Session | undefined {
    return this.#sessions.get(peerId.slice(0, peerId.lastIndexOf('.')));
  }

  nodeLost(nodeId: string): void {
    this.ports.log.warn({ nodeId }, 'a media node is gone, its streams end');
    for (const session of this.#sessions.values()) session.take({ type: 'node-lost', nodeId });
  }

  /** Takes nothing new, ends every session and waits until the media core knows. */
  async drain(): Promise<void> {
    this.#draining = true;
    for (const session of this.#sessions.values())
      session.take({ type: 'terminate', code: CLOSE.goingAway, info: 'The server is going down' });
    while (this.#background.size > 0) await Promise.all(this.#background);
  }

  async close(): Promise<void> {
    clearInterval(this.#ticker);
    this.#stopWatchingConnection();
    await Promise.all(this.#registrations.map((registration) => registration.close()));
    this.#sessions.clear();
  }

  #keep(work: Promise<void>): void {
    this.#background.add(work);
    work
      .catch((error: unknown) => this.ports.log.error({ err: error }, 'work in the background failed'))
      .finally(() => this.#background.delete(work));
  }

  #sessionChanged(change: SessionChanged): void {
    const session = this.ownerOf(change.sessionId);
    const event = mediaEventOf(change);
    if (session === undefined || event === undefined) return;
    this.#heardMs.set(change.sessionId, Date.now());
    const stream = session.streams.find(({ peerId }) => peerId === change.sessionId);
    if (stream !== undefined) session.take({ type: 'media', peerId: stream.peerId, event });
  }

  #tick(): void {
    const nowMs = Date.now();
    const isLate = nowMs - this.#tickedMs > LATE_TICK_MS;
    this.#tickedMs = nowMs;
    // The process stood still: what clients have sent meanwhile is read before anybody's silence counts.
    if (isLate) return;
    for (const session of this.#sessions.values()) if (session.deadlineMs <= nowMs) session.take({ type: 'tick' });
    if (nowMs < this.#nextSilenceCheckMs || !this.ports.bus.connected) return;
    this.#nextSilenceCheckMs = nowMs + SILENCE_CHECK_INTERVAL_MS;
    this.#keep(this.#endForgotten(nowMs));
  }

  /** Events may be lost. A stream that its node doesn't know any more has ended. */
  async #endForgotten(nowMs: number): Promise<void> {
    const silent = new Map<string, PeerId[]>();
    const live = new Set<string>();
    for (const session of this.#sessions.values())
      for (const stream of session.streams) {
        live.add(stream.peerId);
        if (this.#isSilent(stream, nowMs))
          silent.set(stream.phase.nodeId, [...(silent.get(stream.phase.nodeId) ?? []), stream.peerId]);
      }
    for (const peerId of this.#heardMs.keys()) if (!live.has(peerId)) this.#heardMs.delete(peerId);
    await Promise.all([...silent].map(([nodeId, peerIds]) => this.#askAbout(nodeId, peerIds, nowMs)));
  }

  #isSilent(stream: Stream, nowMs: number): stream is Stream & { phase: { tag: 'live'; nodeId: string } } {
    return stream.phase.tag === 'live' && nowMs - (this.#heardMs.get(stream.peerId) ?? 0) > SILENT_AFTER_MS;
  }

  async #askAbout(nodeId: string, peerIds: readonly PeerId[], nowMs: number): Promise<void> {
    for (let from = 0; from < peerIds.length; from += MAX_ASKED_AT_ONCE) {
      const asked = peerIds.slice(from, from + MAX_ASKED_AT_ONCE);
      try {
        const missing = new Set(await this.ports.media.missing(nodeId, asked));
        for (const peerId of asked)
          if (missing.has(peerId))
            this.ownerOf(peerId)?.take({ type: 'media', peerId, event: { kind: 'ended', reason: 'node-lost' } });
          else this.#heardMs.set(peerId, nowMs);
      } catch (error) {
        this.ports.log.warn({ err: error, nodeId }, 'a media node could not be asked about silent streams');
        return;
      }
    }
  }
}
