/** Requests that wait for something to come. Each looks again at every change until it finds what it wants. */
export class WaitingRoom {
  readonly #waiting = new Set<() => void>();
  #closed = false;

  get size(): number {
    return this.#waiting.size;
  }

  /** Must be called when something may have come. */
  changed(): void {
    for (const look of [...this.#waiting]) look();
  }

  /** Ends all waiting, because nothing more comes. */
  close(): void {
    this.#closed = true;
    this.changed();
  }

  /** Waits for the first answer that isn't undefined. Returns undefined when time runs out or the signal is aborted. */
  wait<Answer>(
    look: () => Answer | undefined,
    { timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal | undefined },
  ): Promise<Answer | undefined> {
    const now = look();
    if (now !== undefined || this.#closed || timeoutMs <= 0 || signal?.aborted === true) return Promise.resolve(now);
    return new Promise((resolve) => {
      const leave = (answer: Answer | undefined) => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', give);
        this.#waiting.delete(lookAgain);
        resolve(answer);
      };
      const give = () => leave(undefined);
      const lookAgain = () => {
        const answer = look();
        if (answer !== undefined || this.#closed) leave(answer);
      };
      const timer = setTimeout(give, timeoutMs);
      signal?.addEventListener('abort', give, { once: true });
      this.#waiting.add(lookAgain);
    });
  }
}
