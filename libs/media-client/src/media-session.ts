import { create } from '@bufbuild/protobuf';
import { EndReason, ErrorCode, SessionEndedSchema, WeirError, type SessionChanged } from '@weir/contracts';
import type { Logger } from '@weir/platform';
import { mayBeDone } from './failed-call.js';

/** What the media core reports about a session while it lives. */
export type SessionEvent = Exclude<SessionChanged['change'], { case: 'ended' } | { case: undefined }>;

/** How a session ended; there is exactly one ending. */
export type Ending =
  /** Its owner closed it. */
  | { readonly tag: 'closed'; readonly reason: EndReason }
  /**
   * The media core ended it. NODE_LOST also means that the node is gone or has forgotten it. `detail` is for people.
   */
  | { readonly tag: 'ended'; readonly reason: EndReason; readonly detail: string }
  /** It never began: `opened` rejects with the same error. */
  | { readonly tag: 'refused'; readonly error: unknown };

export type Ended = Extract<Ending, { tag: 'ended' }>;

/** A session in the media core that this process owns. */
export interface MediaSession<Opened> {
  /** Unique forever. */
  readonly sessionId: string;
  /** Undefined until it is known; kept after the end. */
  readonly nodeId: string | undefined;
  /** The media core has accepted the session, and it hasn't ended yet. */
  readonly isOpen: boolean;
  /**
   * The media core's answer. Rejects with a WeirError if the media core refused, if its node was lost (UNAVAILABLE), or
   * if `close` was called before the answer. An unhandled rejection does no harm, because `ended` reports it as well,
   * and earlier.
   */
  readonly opened: Promise<Opened>;
  /** Never rejects. All events before the end have been reported by then. */
  readonly ended: Promise<Ending>;
  /**
   * May be called at any time and more than once; only the first reason counts. No events are reported from now on.
   * Resolves when the node knows, or can't be told. Never rejects.
   */
  close(reason?: EndReason): Promise<void>;
}

export interface SessionOpening<Opened> {
  readonly sessionId: string;
  /** The node that is asked; undefined if any node may take the session. */
  readonly nodeId: string | undefined;
  readonly open: () => Promise<{ readonly nodeId: string; readonly opened: Opened }>;
  /** Finds the node that may have the session although `open` failed. May reject. */
  readonly findUnanswered: () => Promise<string | undefined>;
  /** Is called once, at the end. */
  readonly release?: () => void;
  /** Is called once for each event, in order, and never before `opened` has been handled. */
  readonly onEvent?: ((event: SessionEvent) => void) | undefined;
}

export interface SessionPorts {
  readonly log: Logger;
  /** Announces a node that has a session, or may have one. */
  readonly expectNode: (nodeId: string) => void;
  /** Ends the session on its node. Never rejects. */
  readonly closeOnNode: (nodeId: string, sessionId: string, reason: EndReason) => Promise<void>;
  /** Must be called when the session has ended. */
  readonly forget: (session: LiveSession) => void;
}

type State =
  | { readonly tag: 'opening' }
  | { readonly tag: 'open' }
  /** `reason` is sent to a node that opens the session after its end. */
  | { readonly tag: 'over'; readonly reason: EndReason };

interface Settling<Value> {
  readonly promise: Promise<Value>;
  readonly resolve: (value: Value) => void;
  readonly reject: (error: unknown) => void;
}

const settling = <Value>(): Settling<Value> => {
  let resolve: (value: Value) => void = () => undefined;
  let reject: (error: unknown) => void = () => undefined;
  const promise = new Promise<Value>((take, refuse) => {
    resolve = take;
    reject = refuse;
  });
  return { promise, resolve, reject };
};

/** How the registry uses a session, whatever type its opening returns. */
export interface LiveSession {
  readonly sessionId: string;
  readonly nodeId: string | undefined;
  readonly isOpen: boolean;
  /** When to ask its node whether it still has the session, by `performance.now()`. */
  askAtMs: number;
  told(change: SessionChanged['change']): void;
  nodeLost(): void;
  close(): Promise<void>;
}

export class OwnedSession<Opened> implements MediaSession<Opened>, LiveSession {
  nodeId: string | undefined;
  askAtMs = Infinity;
  readonly #opened = settling<Opened>();
  readonly #ended = settling<Ending>();
  /** Resolves once the opening is answered and a session that was opened too late is closed. Never rejects. */
  readonly #answered: Promise<void>;
  #state: State = { tag: 'opening' };
  /** The changes that arrived before the answer was handled. */
  #held: SessionChanged['change'][] | undefined = [];
  #isConnected = false;
  #closing: Promise<void> | undefined;

  constructor(
    private readonly opening: SessionOpening<Opened>,
    private readonly ports: SessionPorts,
  ) {
    this.#opened.promise.catch(() => undefined); // `ended` reports it
    this.nodeId = opening.nodeId;
    if (opening.nodeId !== undefined) ports.expectNode(opening.nodeId);
    this.#answered = this.#open();
  }

  get sessionId(): string {
    return this.opening.sessionId;
  }

  get isOpen(): boolean {
    return this.#state.tag === 'open';
  }

  get opened(): Promise<Opened> {
    return this.#opened.promise;
  }

  get ended(): Promise<Ending> {
    return this.#ended.promise;
  }

  told(change: SessionChanged['change']): void {
    if (this.#held === undefined) this.#hear(change);
    else this.#held.push(change);
  }

  nodeLost(): void {
    const { sessionId } = this;
    const reason = EndReason.NODE_LOST;
    if (this.isOpen) this.told({ case: 'ended', value: create(SessionEndedSchema, { reason }) });
    else
      this.#end(
        { tag: 'ended', reason, detail: '' },
        new WeirError(ErrorCode.UNAVAILABLE, 'The media node has ended; start the stream again', { sessionId }),
      );
  }

  close(reason = EndReason.CLIENT): Promise<void> {
    this.#closing ??= this.#close(reason);
    return this.#closing;
  }

  async #close(reason: EndReason): Promise<void> {
    const { isOpen, nodeId } = this;
    this.#end(
      { tag: 'closed', reason },
      new WeirError(ErrorCode.UNAVAILABLE, 'The session was closed before it was open', { sessionId: this.sessionId }),
    );
    if (isOpen && nodeId !== undefined) await this.ports.closeOnNode(nodeId, this.sessionId, reason);
    else await this.#answered;
  }

  async #open(): Promise<void> {
    try {
      const { nodeId, opened } = await this.opening.open();
      this.nodeId = nodeId;
      this.ports.expectNode(nodeId);
      if (this.#state.tag === 'over') return await this.ports.closeOnNode(nodeId, this.sessionId, this.#state.reason);
      this.#state = { tag: 'open' };
      this.#opened.resolve(opened);
      // Callers that wait for the answer handle it before this turn of the event loop ends.
      setImmediate(() => this.#handOverHeld());
    } catch (error) {
      this.#end({ tag: 'refused', error }, error);
      if (mayBeDone(error)) await this.#closeUnanswered();
    }
  }

  /** The call may have opened a session although its reply was lost. */
  async #closeUnanswered(): Promise<void> {
    const { sessionId, ports, opening } = this;
    try {
      const nodeId = await opening.findUnanswered();
      if (nodeId === undefined) return;
      ports.expectNode(nodeId);
      await ports.closeOnNode(nodeId, sessionId, this.#state.tag === 'over' ? this.#state.reason : EndReason.CLIENT);
    } catch (error) {
      ports.log.warn({ err: error, sessionId }, 'a session whose opening was not answered could not be looked for');
    }
  }

  #handOverHeld(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const change of held) this.#hear(change);
  }

  #hear(change: SessionChanged['change']): void {
    // A newer node may report changes that this instance doesn't know.
    if (this.#state.tag === 'over' || change.case === undefined) return;
    if (change.case === 'ended') {
      const { reason, detail } = change.value;
      return this.#end({ tag: 'ended', reason, detail });
    }
    if (change.case === 'connected') {
      if (this.#isConnected) return;
      this.#isConnected = true;
    }
    try {
      this.opening.onEvent?.(change);
    } catch (error) {
      this.ports.log.error({ err: error, sessionId: this.sessionId }, 'an event of a media session was not handled');
    }
  }

  /** @param unopened the error for callers that still wait for the answer */
  #end(ending: Ending, unopened?: unknown): void {
    if (this.#state.tag === 'over') return;
    this.#state = { tag: 'over', reason: ending.tag === 'closed' ? ending.reason : EndReason.CLIENT };
    this.opening.release?.();
    this.ports.forget(this);
    this.#ended.resolve(ending);
    this.#opened.reject(unopened);
  }
}
