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

/** What is worth remembering of a relay. */
export interface RelayStatus {
  readonly phase: RelayPhase;
  /** Of the last end, or of what is wrong at this moment. */
  readonly reason: string;
  readonly retries: number;
  /** Media that the present try leaves out, each with its reason. */
  readonly notCarried: readonly string[];
  readonly localMediaSessionId: string | null;
  readonly remoteMediaSessionId: string | null;
}

export type RelayOutcome =
  /** Nothing is left to be done: the stream has ended, or somebody has ended the relay. */
  | { readonly kind: 'finished'; readonly end: AttemptEnd }
  | { readonly kind: 'failed'; readonly end: AttemptEnd }
  /** Let go of for another instance. */
  | { readonly kind: 'released' };

export interface RelayOptions {
  readonly attempt: (listener: AttemptListener) => Attempt & { start(): void };
  readonly retry: RetrySettings;
  /** Of a relay that goes on after another instance: it has been agreed on. */
  readonly resumed: { readonly retries: number; readonly reason: string } | undefined;
  /** 0 to 1. */
  readonly random: () => number;
  readonly changed: (status: RelayStatus) => void;
  readonly over: (outcome: RelayOutcome) => void;
}

type Life =
  | { readonly tag: 'idle' }
  | { readonly tag: 'trying'; readonly attempt: Attempt }
  | { readonly tag: 'running'; readonly attempt: Attempt; readonly sinceMs: number }
  | { readonly tag: 'waiting'; readonly timer: NodeJS.Timeout }
  | { readonly tag: 'over'; readonly outcome: RelayOutcome['kind'] };

/** Three checks without an answer. ICE gives the path up only after 30 s (RFC 7675), and it may come back until then. */
const SILENT_AFTER_MS = 3_000;
const CREDENTIAL_ENDED = 'The key or token that the relay was asked for with has ended';

/**
 * `release`: another instance goes on; `give-up`: the credential that it was asked for with has ended, which its list
 * shall tell.
 */
export type StopKind = 'finish' | 'release' | 'give-up';

const outcome = <Value>() => {
  let resolve: (value: Value) => void = () => undefined;
  const promise = new Promise<Value>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
};

/** One relay from its begin to its end, over as many attempts as it takes. */
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

  /** The first attempt's end, or undefined once the other server has agreed. */
  get agreed(): Promise<AttemptEnd | undefined> {
    return this.#first.promise;
  }

  /** Resolves when nothing more is done. */
  get isOver(): Promise<undefined> {
    return this.#over.promise;
  }

  get stats(): AttemptStats {
    return this.#life.tag === 'trying' || this.#life.tag === 'running' ? this.#life.attempt.stats : NO_STATS;
  }

  get isFinished(): boolean {
    return this.#life.tag === 'over' && this.#life.outcome === 'finished';
  }

  /** As it is at this moment; `changed` is not told of silence. */
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

  /** Ends it in order. */
  async stop(how: StopKind): Promise<void> {
    this.#stopping ??= how;
    switch (this.#life.tag) {
      case 'idle':
        this.#finish({ kind: 'stopped' });
        break;
      case 'waiting':
        clearTimeout(this.#life.timer);
        this.#finish({ kind: 'stopped' });
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
    if (isHopeless) return this.#end({ kind: 'failed', end });
    const { minPauseMs: firstMs, maxPauseMs: maxMs } = this.options.retry;
    const pauseMs = backOffMs({ firstMs, maxMs }, this.#retries, this.options.random());
    this.#retries += 1;
    this.#life = { tag: 'waiting', timer: setTimeout(() => this.#try(), pauseMs) };
    this.#tell();
  }

  #finish(end: AttemptEnd): void {
    switch (this.#stopping) {
      case 'release':
        return this.#end({ kind: 'released' });
      case 'give-up':
        this.#reason = CREDENTIAL_ENDED;
        return this.#end({ kind: 'failed', end });
      case 'finish':
      case undefined:
        return this.#end({ kind: 'finished', end });
      default:
        return this.#stopping satisfies never;
    }
  }

  #end(outcome: RelayOutcome): void {
    this.#life = { tag: 'over', outcome: outcome.kind };
    this.#first.resolve(outcome.kind === 'released' ? { kind: 'stopped' } : outcome.end);
    if (outcome.kind === 'failed') this.#tell();
    this.options.over(outcome);
    this.#over.resolve(undefined);
  }

  #tell(): void {
    this.options.changed(this.status);
  }
}
