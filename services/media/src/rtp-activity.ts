import type { types as mediasoup } from 'mediasoup';

type MediaKind = mediasoup.MediaKind;

/** Which tracks of which publishers must bring packets, by the `WEIR_MEDIA_RTP_ACTIVITY_*` settings. */
export interface RtpActivityRules {
  /** Whether tracks of the kind are checked at all. */
  readonly audio: boolean;
  readonly video: boolean;
  /** Streams whose whole name matches aren't checked. */
  readonly audioExclude: RegExp | undefined;
  readonly videoExclude: RegExp | undefined;
  /** How long the checked tracks may bring no media while sender reports come: a static picture brings none. */
  readonly timeoutMs: number;
}

export const EVERYTHING_CHECKED: RtpActivityRules = {
  audio: true,
  video: true,
  audioExclude: undefined,
  videoExclude: undefined,
  timeoutMs: 60_000,
};

/** A regular expression that matches whole names; undefined for an empty text. Throws SyntaxError. */
export const wholeNames = (source: string): RegExp | undefined =>
  source === '' ? undefined : new RegExp(`^(?:${source})$`, 'u');

export interface RtpActivityOptions {
  readonly rules: RtpActivityRules;
  readonly streamName: string;
  readonly kinds: readonly MediaKind[];
  /** How long a publisher may send neither media nor sender reports. */
  readonly noMediaTimeoutMs: number;
  /** The longest time that counts between two measurements: nothing is known while the worker doesn't answer. */
  readonly maxStepMs: number;
}

/**
 * Tells whether a publisher has fallen silent. It adds up silence between measurements; each step counts `maxStepMs` at
 * most.
 */
export class RtpActivity {
  readonly #checked: ReadonlySet<MediaKind>;
  readonly #counts = new Map<MediaKind, number>();
  #measuredMs: number;
  #withoutMediaMs = 0;
  #unheardMs = 0;
  #hasReport = false;

  constructor(
    private readonly options: RtpActivityOptions,
    nowMs: number,
  ) {
    const { rules, streamName, kinds } = options;
    this.#checked = new Set(
      kinds.filter((kind) => {
        const exclude = kind === 'audio' ? rules.audioExclude : rules.videoExclude;
        return rules[kind] && exclude?.test(streamName) !== true;
      }),
    );
    this.#measuredMs = nowMs;
  }

  /** Called when a sender report has come. */
  reported(): void {
    this.#hasReport = true;
  }

  /** Begins to count silence. Before this no media can arrive. */
  begin(nowMs: number): void {
    this.#measuredMs = nowMs;
    this.#withoutMediaMs = 0;
    this.#unheardMs = 0;
  }

  /** @param packetCounts the number of all packets so far, by kind */
  measured(packetCounts: ReadonlyMap<MediaKind, number>, nowMs: number): void {
    const stepMs = Math.min(nowMs - this.#measuredMs, this.options.maxStepMs);
    this.#measuredMs = nowMs;
    const active = [...packetCounts].filter(([kind, count]) => count !== (this.#counts.get(kind) ?? 0));
    for (const [kind, count] of packetCounts) this.#counts.set(kind, count);
    this.#unheardMs = active.length > 0 || this.#hasReport ? 0 : this.#unheardMs + stepMs;
    this.#withoutMediaMs = active.some(([kind]) => this.#checked.has(kind)) ? 0 : this.#withoutMediaMs + stepMs;
    this.#hasReport = false;
  }

  get isSilent(): boolean {
    const { rules, noMediaTimeoutMs } = this.options;
    if (this.#checked.size === 0) return false;
    return this.#unheardMs > noMediaTimeoutMs || this.#withoutMediaMs > Math.max(rules.timeoutMs, noMediaTimeoutMs);
  }
}
