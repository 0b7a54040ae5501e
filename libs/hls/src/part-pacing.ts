/**
 * RFC 8216bis §4.4.4.9: a part lasts at most the part target and, unless it is the last of its segment, at least 85 %
 * of it. The target therefore follows the stream's own frame duration: a part is a whole number of frames, with room on
 * both sides for the jitter of a live source's timestamps. The target is determined only once, because players rely on
 * the first value they saw. If the source becomes slower, its parts end within a picture.
 */
const LEAST_OF_DUE = 0.97;
const TARGET_OF_DUE = 1.14;
const LEAST_OF_TARGET = 0.85;
/** This many frames show a frame duration that a single outlier doesn't change … */
const LEAST_FRAMES = 3;
/** … but learning takes no longer than this. */
const MAX_LEARNING_MS = 2_000;

export class PartPacing {
  readonly #wantedMs: number;
  #frameDurationsMs: number[] = [];
  #learntMs = 0;
  #dueMs: number | undefined;
  #targetMs: number | undefined;

  /** @param targetMs the part target of a playlist that is being continued */
  constructor(wantedMs: number, targetMs?: number) {
    this.#wantedMs = wantedMs;
    this.#targetMs = targetMs;
  }

  /** Upper bound of all parts; it never changes after the first part. */
  get targetMs(): number {
    return this.#targetMs ?? Math.ceil(this.#wantedMs * TARGET_OF_DUE);
  }

  /** The intended duration of a part; undefined until the first frames have shown it. */
  get dueMs(): number | undefined {
    return this.#dueMs;
  }

  /** Another stream begins, possibly with another frame rate. */
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

  /** Stops learning and uses what is known by now. */
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

  /** Whether a part would become too long with the next picture and is already long enough after `earlierMs`. */
  endsEarlier(partMs: number, earlierMs: number): boolean {
    return this.isTooLong(partMs) && earlierMs >= this.targetMs * LEAST_OF_TARGET;
  }
}

/** A whole number of frames if that fits the bounds, with room for jitter. */
function dueWithin(targetMs: number, frameMs: number): number {
  const wantedMs = targetMs / TARGET_OF_DUE;
  const wholeMs = Math.round(wantedMs / frameMs) * frameMs;
  const fits = wholeMs >= targetMs * (LEAST_OF_TARGET + 0.02) && wholeMs <= targetMs * LEAST_OF_DUE;
  return fits ? wholeMs : wantedMs;
}
