/** Runs work in the order of arrival, at most `size` at a time. */
export class Slots {
  readonly #waiting: (() => void)[] = [];
  readonly #idleListeners: (() => void)[] = [];
  #running = 0;

  constructor(readonly size: number) {}

  async run<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#running >= this.size) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#running++;
    try {
      return await work();
    } finally {
      this.#release();
    }
  }

  /** Resolves when nothing runs or waits. */
  async idle(): Promise<void> {
    if (this.#running > 0) await new Promise<void>((resolve) => this.#idleListeners.push(resolve));
  }

  #release(): void {
    // The slot goes directly to the next in line, so that work that arrives later can't take it.
    const next = this.#waiting.shift();
    if (next !== undefined) {
      next();
      return;
    }
    this.#running--;
    if (this.#running === 0) for (const listener of this.#idleListeners.splice(0)) listener();
  }
}
