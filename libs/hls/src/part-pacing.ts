/**
 * RFC 8216bis §4.4.4.9: a part lasts at most the part target and, unless it is a segment's last, at least 85 % of it. So
 * the target follows the stream's own frame duration: a part is a whole number of frames, and the room left on both
 * sides of it takes up the jitter of a live source's timestamps. It is learnt once, because players hold a playlist to
 * what it told first: parts of a source that becomes slower end within a picture.
 */
const LEAST_OF_DUE = 0.97;
const TARGET_OF_DUE = 1.14;
const LEAST_OF_TARGET = 0.85;
/** So many frames tell a frame duration that one outlier among them doesn't change … */
const LEAST_FRAMES = 3;
/** … unless that takes too long. */
const MAX_LEARNING_MS = 2_000;

export class PartPacing {
  readonly #wantedMs: number;
  #frameDurationsMs: number[] = [];
  #learntMs = 0;
  #dueMs: number | undefined;
  #targetMs: number | undefined;

  /** @param targetMs of a playlist that is continued */
  constructor(wantedMs: number, targetMs?: number) {
    this.#wantedMs = wantedMs;
    this.#targetMs = targetMs;
  }

  /** Bound of all parts; from the first part on it never changes. */
  get targetMs(): number {
    return this.#targetMs ?? Math.ceil(this.#wantedMs * TARGET_OF_DUE);
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
    const isEnough = this.#frameDurationsMs.length >= LEAST_FRAMES && this.#learntMs >= this.#wantedMs * LEAST_OF_DUE;
    if (isEnough || this.#learntMs >= MAX_LEARNING_MS) this.settle();
  }

  /** What is known by now must do. */
  settle(): void {
    if (this.#dueMs !== undefined) return;
    const sorted = this.#frameDurationsMs.sort((a, b) => a - b);
    const frameMs = sorted[(sorted.length - 1) >> 1] ?? this.#wantedMs;
    if (this.#targetMs === undefined) {
      this.#dueMs = Math.max(1, Math.ceil(this.#wantedMs / frameMs - 0.25)) * frameMs;
      this.#targetMs = Math.ceil(this.#dueMs * TARGET_OF_DUE);
    } else this.#dueMs = dueWithin(this.#targetMs, frameMs);
  }

  isDue(partMs: number): boolean {
    return this.#dueMs !== undefined && partMs >= this.#dueMs * LEAST_OF_DUE && partMs <= this.targetMs;
  }

  isTooLong(partMs: number): boolean {
    return partMs > this.targetMs;
  }

  /** Is a part that would become too long long enough already, after `earlierMs`? */
  endsEarlier(partMs: number, earlierMs: number): boolean {
    return this.isTooLong(partMs) && earlierMs >= this.targetMs * LEAST_OF_TARGET;
  }
}

/** Whole frames where they fit the bounds, with room for jitter. */
function dueWithin(targetMs: number, frameMs: number): number {
  const wantedMs = targetMs / TARGET_OF_DUE;
  const wholeMs = Math.round(wantedMs / frameMs) * frameMs;
  const fits = wholeMs >= targetMs * (LEAST_OF_TARGET + 0.02) && wholeMs <= targetMs * LEAST_OF_DUE;
  return fits ? wholeMs : wantedMs;
}
