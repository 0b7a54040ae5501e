import type { ServerResponse } from 'node:http';

/** Ends answers that the client doesn't read, because each holds a connection here and one at the service. */
export class SlowReaders {
  private readonly progressAtMs = new Map<ServerResponse, number>();
  private readonly timer: NodeJS.Timeout;

  constructor(private readonly options: { timeoutMs: number; nowMs: () => number }) {
    this.timer = setInterval(() => this.sweep(), Math.min(1_000, options.timeoutMs / 4));
    this.timer.unref();
  }

  watch(answer: ServerResponse): void {
    this.progressAtMs.set(answer, this.options.nowMs());
    answer.on('drain', () => this.noteProgress(answer));
    answer.once('close', () => this.progressAtMs.delete(answer));
  }

  close(): void {
    clearInterval(this.timer);
    this.progressAtMs.clear();
  }

  private sweep(): void {
    const nowMs = this.options.nowMs();
    for (const [answer, lastMs] of this.progressAtMs) {
      if (!waitsForClient(answer)) this.noteProgress(answer);
      else if (nowMs - lastMs > this.options.timeoutMs) answer.destroy();
    }
  }

  private noteProgress(answer: ServerResponse): void {
    if (this.progressAtMs.has(answer)) this.progressAtMs.set(answer, this.options.nowMs());
  }
}

/** HTTP/2 answers don't say whether they need to drain, only how much they hold. */
const waitsForClient = (answer: ServerResponse): boolean =>
  (answer.writableNeedDrain ?? answer.writableLength > 0) || (answer.writableEnded && !answer.writableFinished);
