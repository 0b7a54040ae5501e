import { backOffMs } from '@weir/timing';
import {
  consequenceOf,
  NO_STATS,
  reasonOf,
  type Attempt,
  type AttemptEnd,
  type AttemptListener,
  type AttemptStats,
} from './attempt.js';

export interface RetrySettings {
  readonly maxRetries: number;
  readonly minPauseMs: number;
  readonly maxPauseMs: number;
  readonly stableMs: number;
}

export type RelayPhase = 'new' | 'running' | 'waiting' | 'failed';

/** The state of a relay that is stored. */
export interface RelayStatus {
  readonly phase: RelayPhase;
  /** The reason of the last end, or what is wrong now. */
  readonly reason: string;
  readonly retries: number;
  /** The media that the present attempt leaves out, each with its reason. */
  readonly notCarried: readonly string[];
  readonly localMediaSessionId: string | null;
  readonly remoteMediaSessionId: string | null;
}

export type RelayOutcome =
  /** Nothing remains to be done: the stream has ended, or somebody has ended the relay. */
  | { readonly tag: 'finished'; readonly end: AttemptEnd }
  | { readonly tag: 'failed'; readonly end: AttemptEnd }
  /** Released, so that another instance can go on. */
  | { readonly tag: 'released' };

export interface RelayOptions {
  readonly attempt: (listener: AttemptListener) => Attempt & { start(): void };
  readonly retry: RetrySettings;
  /** Set for a relay that another instance has run: the other server has agreed to it already. */
  readonly resumed: { readonly retries: number; readonly reason: string } | undefined;
  /** Returns a number from 0 to 1. */
  readonly random: () => number;
  readonly changed: (status: RelayStatus) => void;
  readonly over: (outcome: RelayOutcome) => void;
}

type Life =
  | { readonly tag: 'idle' }
  | { readonly tag: 'trying'; readonly attempt: Attempt }
  | { readonly tag: 'running'; readonly attempt: Attempt; readonly sinceMs: number }
  | { readonly tag: 'waiting'; readonly timer: NodeJS.Timeout }
  | { readonly tag: 'over'; readonly outcome: RelayOutcome['tag'] };

/**
 * The time of three connectivity checks without an answer. ICE gives the path up only after 30 s (RFC 7675), and the
 * path may come back until then.
 */
const SILENT_AFTER_MS = 3_000;
const CREDENTIAL_ENDED = 'The key or token that the relay was asked for with has ended';

/**
 * `finish`: the relay is over. `release`: another instance goes on with it. `give-up`: the credential of its request
 * has ended; the list shows the relay as failed for that reason.
 */
export type StopKind = 'finish' | 'release' | 'give-up';

const outcome = <Value>() => {
  let resolve: (value: Value) => void = () => undefined;
  const promise = new Promise<Value>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
};

/** One relay from its start to its end, with as many attempts as it takes. */
export class Relay {
  #life: Life = { tag: 'idle' };
  #stopping: StopKind | undefined;
  #agreed: boolean;
  #retries: number;
  #reason: string;
  #notCarried: readonly string[] = [];
  readonly #first = outcome<AttemptEnd | undefined>();
  readonly #over = outcome<undefined>();

  constructor(private readonly options: RelayOptions) {
    this.#agreed = options.resumed !== undefined;
    this.#retries = options.resumed?.retries ?? 0;
    this.#reason = options.resumed?.reason ?? '';
  }

  /** Resolves with the first attempt's end, or with undefined once the other server has agreed. */
  get agreed(): Promise<AttemptEnd | undefined> {
    return this.#first.promise;
  }

  /** Resolves when the relay is over and does nothing any more. */
  get isOver(): Promise<undefined> {
    return this.#over.promise;
  }

  get stats(): AttemptStats {
    return this.#life.tag === 'trying' || this.#life.tag === 'running' ? this.#life.attempt.stats : NO_STATS;
  }

  get isFinished(): boolean {
    return this.#life.tag === 'over' && this.#life.outcome === 'finished';
  }

  /** The present state. `changed` isn't called when the server falls silent. */
  get status(): RelayStatus {
    const isSilent = this.#life.tag === 'running' && this.#life.attempt.stats.silentMs >= SILENT_AFTER_MS;
    const attempt = 'attempt' in this.#life ? this.#life.attempt : undefined;
    return {
      phase: isSilent ? 'waiting' : this.#phase,
      reason: isSilent ? 'Nothing comes from the server any more' : this.#reason,
      retries: this.#retries,
      notCarried: this.#notCarried,
      localMediaSessionId: attempt?.localMediaSessionId ?? null,
      remoteMediaSessionId: attempt?.remoteMediaSessionId ?? null,
    };
  }

  get #phase(): RelayPhase {
    switch (this.#life.tag) {
      case 'idle':
      case 'trying':
        return this.#retries > 0 ? 'waiting' : 'new';
      case 'running':
        return 'running';
      case 'waiting':
        return 'waiting';
      case 'over':
        return this.#life.outcome === 'failed' ? 'failed' : 'waiting';
      default:
        return this.#life satisfies never;
    }
  }

  start(): void {
    if (this.#life.tag === 'idle') this.#try();
  }

  /** Ends the relay in order. */
  async stop(how: StopKind): Promise<void> {
    this.#stopping ??= how;
    switch (this.#life.tag) {
      case 'idle':
        this.#finish({ tag: 'stopped' });
        break;
      case 'waiting':
        clearTimeout(this.#life.timer);
        this.#finish({ tag: 'stopped' });
        break;
      case 'trying':
      case 'running':
        this.#life.attempt.stop();
        break;
      case 'over':
        break;
      default:
        this.#life satisfies never;
    }
    await this.#over.promise;
  }

  #try(): void {
    const listener: AttemptListener = {
      accepted: (notCarried) => this.#accepted(notCarried),
      running: () => this.#running(),
      ended: (end) => this.#ended(end),
    };
    const attempt = this.options.attempt(listener);
    this.#life = { tag: 'trying', attempt };
    this.#tell();
    attempt.start();
  }

  #accepted(notCarried: readonly string[]): void {
    this.#notCarried = notCarried;
    this.#agreed = true;
    this.#first.resolve(undefined);
  }

  #running(): void {
    if (this.#life.tag !== 'trying') return;
    const { attempt } = this.#life;
    this.#life = { tag: 'running', attempt, sinceMs: Date.now() };
    this.#tell();
  }

  #ended(end: AttemptEnd): void {
    if (this.#life.tag === 'running' && Date.now() - this.#life.sinceMs >= this.options.retry.stableMs)
      this.#retries = 0;
    this.#reason = reasonOf(end);
    this.#notCarried = [];
    if (this.#stopping !== undefined) return this.#finish(end);
    const consequence = consequenceOf(end);
    if (consequence === 'finish') return this.#finish(end);
    const isHopeless = consequence === 'fail' || !this.#agreed || this.#retries >= this.options.retry.maxRetries;
    if (isHopeless) return this.#end({ tag: 'failed', end });
    const { minPauseMs: firstMs, maxPauseMs: maxMs } = this.options.retry;
    const pauseMs = backOffMs({ firstMs, maxMs }, this.#retries, this.options.random());
    this.#retries += 1;
    this.#life = { tag: 'waiting', timer: setTimeout(() => this.#try(), pauseMs) };
    this.#tell();
  }

  #finish(end: AttemptEnd): void {
    switch (this.#stopping) {
      case 'release':
        return this.#end({ tag: 'released' });
      case 'give-up':
        this.#reason = CREDENTIAL_ENDED;
        return this.#end({ tag: 'failed', end });
      case 'finish':
      case undefined:
        return this.#end({ tag: 'finished', end });
      default:
        return this.#stopping satisfies never;
    }
  }

  #end(outcome: RelayOutcome): void {
    this.#life = { tag: 'over', outcome: outcome.tag };
    this.#first.resolve(outcome.tag === 'released' ? { tag: 'stopped' } : outcome.end);
    if (outcome.tag === 'failed') this.#tell();
    this.options.over(outcome);
    this.#over.resolve(undefined);
  }

  #tell(): void {
    this.options.changed(this.status);
  }
}
