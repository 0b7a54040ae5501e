import type { ServerResponse } from 'node:http';

/** Ends answers that the client doesn't read, because each holds a connection here and one at the service. */
export class SlowReaders {
  readonly #watched = new Map<ServerResponse, { progressAtMs: number; onCut: () => void }>();
  readonly #timer: NodeJS.Timeout;

  constructor(private readonly options: { timeoutMs: number; nowMs: () => number }) {
    this.#timer = setInterval(() => this.#sweep(), Math.min(1_000, options.timeoutMs / 4));
    this.#timer.unref();
  }

  watch(answer: ServerResponse, onCut: () => void): void {
    this.#watched.set(answer, { progressAtMs: this.options.nowMs(), onCut });
    answer.on('drain', () => this.#noteProgress(answer));
    answer.once('close', () => this.#watched.delete(answer));
  }

  close(): void {
    clearInterval(this.#timer);
    this.#watched.clear();
  }

  #sweep(): void {
    const nowMs = this.options.nowMs();
    for (const [answer, { progressAtMs, onCut }] of this.#watched) {
      if (!waitsForClient(answer)) this.#noteProgress(answer);
      else if (nowMs - progressAtMs > this.options.timeoutMs) {
        answer.destroy();
        onCut();
      }
    }
  }

  #noteProgress(answer: ServerResponse): void {
    const watched = this.#watched.get(answer);
    if (watched !== undefined) watched.progressAtMs = this.options.nowMs();
  }
}

/** HTTP/2 answers don't say whether they need to drain, only how much they hold. */
const waitsForClient = (answer: ServerResponse): boolean =>
  (answer.writableNeedDrain ?? answer.writableLength > 0) || (answer.writableEnded && !answer.writableFinished);
