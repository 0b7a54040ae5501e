/**
 * RFC 8216bis §4.4.4.9: a part lasts at most the part target and, unless it is a segment's last, at least 85 % of it. So
 * the target follows the stream's own frame duration: a part is a whole number of frames, and the room left on both
 * sides of it takes up the jitter of a live source's timestamps.
 */
const LEAST_OF_DUE = 0.97;
const TARGET_OF_DUE = 1.14;

export class PartPacing {
  readonly #wantedMs: number;
  #frameDurationsMs: number[] = [];
  #learntMs = 0;
  #dueMs: number | undefined;
  #targetMs = 0;

  constructor(wantedMs: number) {
    this.#wantedMs = wantedMs;
  }

  /** Bound of all parts so far; it never shrinks. */
  get targetMs(): number {
    return this.#targetMs || Math.ceil(this.#wantedMs * TARGET_OF_DUE);
  }

  /** The duration aimed at, once the first frames have shown it. */
  get dueMs(): number | undefined {
    return this.#dueMs;
  }

  /** Another stream begins, perhaps at another frame rate. */
  relearn(): void {
    this.#frameDurationsMs = [];
    this.#learntMs = 0;
    this.#dueMs = undefined;
  }

  learn(frameDurationMs: number): void {
    if (this.#dueMs !== undefined || frameDurationMs <= 0) return;
    this.#frameDurationsMs.push(frameDurationMs);
    this.#learntMs += frameDurationMs;
    if (this.#learntMs < this.#wantedMs * LEAST_OF_DUE) return;
    const sorted = this.#frameDurationsMs.sort((a, b) => a - b);
    const frameMs = sorted[sorted.length >> 1] ?? this.#wantedMs;
    this.#dueMs = Math.max(1, Math.ceil(this.#wantedMs / frameMs - 0.25)) * frameMs;
    this.#targetMs = Math.max(this.#targetMs, Math.ceil(this.#dueMs * TARGET_OF_DUE));
  }

  isDue(partMs: number): boolean {
    return this.#dueMs !== undefined && partMs >= this.#dueMs * LEAST_OF_DUE;
  }

  /** Should the part rather have ended one frame earlier, after `earlierMs`? */
  endsEarlier(partMs: number, earlierMs: number): boolean {
    return this.#dueMs !== undefined && partMs > this.#targetMs && earlierMs >= this.#dueMs * 0.6;
  }

  /** A part that had to be longer raises the bound. */
  note(partMs: number): void {
    if (partMs > this.targetMs) this.#targetMs = Math.ceil(partMs);
  }
}
