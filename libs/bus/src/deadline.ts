/** The time by which something must be done. Its owner must close it to remove the timer. */
export class Deadline {
  readonly #controller = new AbortController();
  readonly #endsAtMs: number;
  readonly #timer: NodeJS.Timeout;

  constructor(readonly grantedMs: number) {
    this.#endsAtMs = performance.now() + grantedMs;
    this.#timer = setTimeout(
      () => this.#controller.abort(new DOMException('The deadline is over', 'TimeoutError')),
      grantedMs,
    );
    this.#timer.unref();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  remainingMs(): number {
    return this.#controller.signal.aborted ? 0 : Math.max(0, this.#endsAtMs - performance.now());
  }

  close(): void {
    clearTimeout(this.#timer);
  }
}
