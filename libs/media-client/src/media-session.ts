import { create } from '@bufbuild/protobuf';
import { EndReason, ErrorCode, SessionEndedSchema, WeirError, type SessionChanged } from '@weir/contracts';
import type { Logger } from '@weir/platform';
import { mayBeDone } from './failed-call.js';

/** What the media core tells of a session while it lives. */
export type SessionEvent = Exclude<SessionChanged['change'], { case: 'ended' } | { case: undefined }>;

/** The end of a session, of which there is one. */
export type Ending =
  /** Its owner has closed it. */
  | { readonly tag: 'closed'; readonly reason: EndReason }
  /** By the media core; with NODE_LOST also when the node is gone or has forgotten it. `detail` is for people. */
  | { readonly tag: 'ended'; readonly reason: EndReason; readonly detail: string }
  /** It has never begun: `opened` rejects with the same error. */
  | { readonly tag: 'refused'; readonly error: unknown };

export type Ended = Extract<Ending, { tag: 'ended' }>;

/** A session in the media core, of which this process is the owner. */
export interface MediaSession<Opened> {
  /** Unique for ever. */
  readonly sessionId: string;
  /** Undefined until it is known; kept after the end. */
  readonly nodeId: string | undefined;
  /** Answered, and not ended yet. */
  readonly isOpen: boolean;
  /**
   * What the media core answered. Rejects with a WeirError when it refused, when its node was lost (UNAVAILABLE) or when
   * `close` was called before the answer. A rejection that nobody handles does no harm: `ended` tells it as well, and
   * earlier.
   */
  readonly opened: Promise<Opened>;
  /** Never rejects. Whatever happened before the end has been told by then. */
  readonly ended: Promise<Ending>;
  /**
   * May be called at any time and repeatedly; only the first reason counts. From now on nothing is told. Resolves when
   * the node knows, or can't be told. Never rejects.
   */
  close(reason?: EndReason): Promise<void>;
}

export interface SessionOpening<Opened> {
  readonly sessionId: string;
  /** The node that is asked; undefined where any may take the session. */
  readonly nodeId: string | undefined;
  readonly open: () => Promise<{ readonly nodeId: string; readonly opened: Opened }>;
  /** The node that may have the session although `open` failed. May reject. */
  readonly findUnanswered: () => Promise<string | undefined>;
  /** Once, at the end. */
  readonly release?: () => void;
  /** Gets each event once, in order, and none before `opened` has been handled. */
  readonly onEvent?: ((event: SessionEvent) => void) | undefined;
}

export interface SessionPorts {
  readonly log: Logger;
  /** A node that has a session, or may have. */
  readonly expectNode: (nodeId: string) => void;
  /** Ends the session on its node. Never rejects. */
  readonly closeOnNode: (nodeId: string, sessionId: string, reason: EndReason) => Promise<void>;
  /** It has ended. */
  readonly forget: (session: LiveSession) => void;
}

type State =
  | { readonly tag: 'opening' }
  | { readonly tag: 'open' }
  /** `reason` is what a node is told that has opened the session nevertheless. */
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

/** What its registry does with a session, whatever it was opened with. */
export interface LiveSession {
  readonly sessionId: string;
  readonly nodeId: string | undefined;
  readonly isOpen: boolean;
  /** When its node is asked whether it still has it, by `performance.now()`. */
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
  /** The opening has been answered, and what an answer that came too late has left is closed. Never rejects. */
  readonly #answered: Promise<void>;
  #state: State = { tag: 'opening' };
  /** What came before the answer was handled. */
  #held: SessionChanged['change'][] | undefined = [];
  #isConnected = false;
  #closing: Promise<void> | undefined;

  constructor(
    private readonly opening: SessionOpening<Opened>,
    private readonly ports: SessionPorts,
  ) {
    this.#opened.promise.catch(() => undefined); // `ended` tells it
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
        new WeirError(ErrorCode.UNAVAILABLE, 'The media node is gone', { sessionId }),
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
      // Whoever waits for the answer handles it before this turn of the event loop ends.
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
    // A newer node may speak of changes that this instance doesn't know.
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

  /** @param unopened what those are told who still wait for the answer */
  #end(ending: Ending, unopened?: unknown): void {
    if (this.#state.tag === 'over') return;
    this.#state = { tag: 'over', reason: ending.tag === 'closed' ? ending.reason : EndReason.CLIENT };
    this.opening.release?.();
    this.ports.forget(this);
    this.#ended.resolve(ending);
    this.#opened.reject(unopened);
  }
}
