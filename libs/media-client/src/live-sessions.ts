import type { Bus, Registration } from '@weir/bus';
import { ErrorCode, Media, MediaEvents, WeirError, type EndReason, type SessionStats } from '@weir/contracts';
import { Instances, type Logger } from '@weir/platform';
import { persistently } from './failed-call.js';
import { OwnedSession, type LiveSession, type MediaSession, type SessionOpening } from './media-session.js';

/** A node that NATS no longer knows is noticed within three seconds: nodes say every second that they live. */
const ASK_NODE_AFTER_MS = 1_200;
const TICK_INTERVAL_MS = 1_000;
/** A node that hasn't mentioned a session for this long is asked about it. */
const ASK_AFTER_MS = 15_000;
/** A node that didn't answer is asked again after this time. */
const ASK_AGAIN_AFTER_MS = 5_000;
/** A question and its answer then stay far below the maximum size of a bus message. */
const MAX_ASKED_AT_ONCE = 200;

/**
 * The sessions that this process owns in the media core, and the watch over the nodes that run them. Each session ends
 * once: when its node says so, when its node is gone, when its node is asked and doesn't know it, or when its owner
 * closes it. A node may not know a session because events are lost while the bus is away, and because a node drops the
 * sessions of an owner that it doesn't hear from.
 */
export class LiveSessions {
  readonly #byId = new Map<string, LiveSession>();
  readonly #closings = new Set<Promise<void>>();
  readonly #nodes: Instances;
  readonly #changes: Registration;
  readonly #stopWatchingConnection: () => void;
  readonly #ticker: NodeJS.Timeout;
  readonly #closed = new AbortController();

  constructor(private readonly ports: { readonly bus: Bus; readonly log: Logger }) {
    const { bus } = ports;
    this.#changes = bus.subscribe(MediaEvents.method.sessionChanged, ({ sessionId, change }) => {
      const session = this.#byId.get(sessionId);
      if (session === undefined) return;
      session.askAtMs = performance.now() + ASK_AFTER_MS;
      session.told(change);
    });
    this.#nodes = new Instances({
      bus,
      service: 'media',
      askAfterMs: ASK_NODE_AFTER_MS,
      onLost: (nodeId) => this.#nodeLost(nodeId),
    });
    // Events that were sent while there was no connection are lost.
    this.#stopWatchingConnection = bus.onConnectionChange(() => {
      for (const session of this.#byId.values()) session.askAtMs = 0;
    });
    this.#ticker = setInterval(() => this.#tick(), TICK_INTERVAL_MS);
    this.#ticker.unref();
  }

  /** @throws WeirError UNAVAILABLE after `close` */
  open<Opened>(opening: SessionOpening<Opened>): MediaSession<Opened> {
    if (this.#closed.signal.aborted) throw new WeirError(ErrorCode.UNAVAILABLE, 'The service is shutting down');
    const session = new OwnedSession(opening, {
      log: this.ports.log,
      expectNode: (nodeId) => this.#nodes.expect(nodeId),
      closeOnNode: (nodeId, sessionId, reason) => this.#closeOnNode(nodeId, sessionId, reason),
      forget: (ended) => {
        if (this.#byId.get(ended.sessionId) === ended) this.#byId.delete(ended.sessionId);
      },
    });
    session.askAtMs = performance.now() + ASK_AFTER_MS;
    this.#byId.set(session.sessionId, session);
    return session;
  }

  /** Makes a call that is safe to repeat, again and again for some seconds until it is answered. */
  persistently<Reply>(call: () => Promise<Reply>): Promise<Reply> {
    return persistently(call, { goesOn: () => true, signal: this.#closed.signal });
  }

  /** @throws WeirError when the node can't be asked */
  async statsOf(nodeId: string, sessionIds: readonly string[]): Promise<SessionStats[]> {
    const found: SessionStats[] = [];
    for (let from = 0; from < sessionIds.length; from += MAX_ASKED_AT_ONCE) {
      const asked = sessionIds.slice(from, from + MAX_ASKED_AT_ONCE);
      found.push(...(await this.ports.bus.call(Media.method.getSessionStats, { nodeId, sessionIds: asked })).stats);
    }
    return found;
  }

  /** Closes the sessions that are still open, with one try each. */
  async close(): Promise<void> {
    this.#closed.abort();
    await Promise.all([...this.#byId.values()].map((session) => session.close()));
    await this.leave();
  }

  /** Stops without closing the sessions that are still open. */
  async leave(): Promise<void> {
    this.#closed.abort();
    await Promise.all(this.#closings);
    clearInterval(this.#ticker);
    this.#stopWatchingConnection();
    await Promise.all([this.#changes.close(), this.#nodes.close()]);
  }

  #nodeLost(nodeId: string): void {
    const lost = [...this.#byId.values()].filter((session) => session.nodeId === nodeId);
    if (lost.length > 0) this.ports.log.warn({ nodeId, sessions: lost.length }, 'a media node is gone with sessions');
    for (const session of lost) session.nodeLost();
  }

  #closeOnNode(nodeId: string, sessionId: string, reason: EndReason): Promise<void> {
    const closing = persistently(
      () => this.ports.bus.call(Media.method.closeSession, { nodeId, sessionId, reason }),
      // A node that is gone has nothing left to close.
      { goesOn: () => this.#nodes.has(nodeId), signal: this.#closed.signal },
    ).then(
      () => undefined,
      (error: unknown) => {
        if (!this.#nodes.has(nodeId)) return;
        this.ports.log.warn({ err: error, nodeId, sessionId }, 'a media session could not be closed on its node');
      },
    );
    this.#closings.add(closing);
    return closing.finally(() => this.#closings.delete(closing));
  }

  #tick(): void {
    if (!this.ports.bus.connected) return;
    const nowMs = performance.now();
    const silent = new Map<string, LiveSession[]>();
    for (const session of this.#byId.values()) {
      const { nodeId } = session;
      if (nodeId === undefined || !session.isOpen || nowMs < session.askAtMs) continue;
      session.askAtMs = nowMs + ASK_AGAIN_AFTER_MS;
      const onNode = silent.get(nodeId);
      if (onNode === undefined) silent.set(nodeId, [session]);
      else onNode.push(session);
    }
    for (const [nodeId, sessions] of silent)
      this.#askAbout(nodeId, sessions).catch((error: unknown) => {
        this.ports.log.warn({ err: error, nodeId }, 'a media node could not be asked about its sessions');
      });
  }

  /** A session has ended if its node no longer knows it. */
  async #askAbout(nodeId: string, sessions: readonly LiveSession[]): Promise<void> {
    const stats = await this.statsOf(
      nodeId,
      sessions.map(({ sessionId }) => sessionId),
    );
    const known = new Set(stats.map(({ sessionId }) => sessionId));
    const askAtMs = performance.now() + ASK_AFTER_MS;
    for (const session of sessions)
      if (known.has(session.sessionId)) session.askAtMs = Math.max(session.askAtMs, askAtMs);
      else session.nodeLost();
  }
}
