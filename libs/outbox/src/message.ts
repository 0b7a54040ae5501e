/** What the owner wants delivered. */
export interface NewMessage {
  /** The kind of delivery; it decides which handler gets the message. */
  readonly queue: string;
  /** JSON. The handler reads it with its schema. */
  readonly payload: unknown;
  /**
   * The event's own id. It stays the same over retries and replays. A message whose id is already known is not added
   * again, so an owner that repeats its work after a crash names the id itself. Default: a new one.
   */
  readonly id?: string;
  /** Messages with the same key are delivered in the order in which they were added. Default: no order. */
  readonly key?: string;
  /** To whom the message belongs, for the list and for replays: a tenant, a client. */
  readonly scope?: string;
  /** Where it goes, such as a host. A queue may limit how much goes to one place at the same time. */
  readonly destination?: string;
  /** For how long it is tried. Default: the outbox's own time. */
  readonly keepTryingMs?: number;
}

/** Waiting: for its first or next attempt. Dead: nobody tries any more until it is replayed. */
export type MessageState = 'waiting' | 'delivered' | 'dead';

/** A message that an attempt has leased. */
export interface LeasedMessage {
  readonly id: string;
  readonly queue: string;
  readonly key: string | undefined;
  readonly scope: string;
  readonly payload: unknown;
  /** 1 for the first attempt since the message was added or replayed. */
  readonly attempt: number;
  /** What an earlier attempt noted. */
  readonly note: string | undefined;
  /** The time for which the message is tried is over: if this attempt fails, the message is dead. */
  readonly last: boolean;
  /** How many attempts in a row, directly before this one, ended because their instance died. */
  readonly deaths: number;
}

/** What became of an attempt. `words` are for people and never hold a secret. */
export type Outcome =
  | { readonly tag: 'delivered'; readonly status?: number; readonly words?: string }
  | {
      readonly tag: 'retry';
      readonly words: string;
      readonly status?: number;
      /** The next attempt comes no earlier. */
      readonly afterMs?: number;
    }
  /** Another attempt would end the same way. */
  | { readonly tag: 'dead'; readonly words: string; readonly status?: number };

export type Failure = Exclude<Outcome, { readonly tag: 'delivered' }>;

/** A row of the list; without the payload, which may hold secrets. */
export interface ListedMessage {
  readonly id: string;
  /** Its place in the list. */
  readonly place: bigint;
  readonly queue: string;
  readonly key: string | undefined;
  readonly scope: string;
  readonly destination: string;
  readonly state: MessageState;
  readonly attempts: number;
  /** An instance is trying now, or was killed a moment ago. */
  readonly inProgress: boolean;
  readonly note: string | undefined;
  readonly createdAt: Date;
  /** When the next attempt is due. */
  readonly dueAt: Date;
  readonly giveUpAt: Date;
  readonly endedAt: Date | undefined;
}

/** One row of the delivery log. */
export interface Attempt {
  readonly startedAt: Date;
  readonly instance: string;
  /** Undefined while the attempt goes on, and when its instance was killed. */
  readonly durationMs: number | undefined;
  readonly result: Outcome['tag'] | 'released' | undefined;
  readonly status: number | undefined;
  readonly words: string | undefined;
}

export interface LoggedMessage extends ListedMessage {
  /** Its last 200 attempts, oldest first. */
  readonly log: readonly Attempt[];
}

export interface ListFilter {
  readonly ids?: readonly string[];
  readonly scope?: string;
  readonly queue?: string;
  readonly key?: string;
  readonly state?: MessageState;
  /** The messages after this place. */
  readonly after?: bigint;
  /** At most 500. Default 100. */
  readonly limit?: number;
}

export interface ReplayOptions {
  /** Replays only a message of this scope. */
  readonly scope?: string;
  /** Replaces the payload, for example by one with a new URL. */
  readonly payload?: unknown;
  /** Replaces the destination. */
  readonly destination?: string;
}

/** Hastened: it was waiting, and its next attempt comes now. In progress: it is being tried at this moment. */
export type Replayed = 'replayed' | 'hastened' | 'in progress' | 'unknown';
