import type { ProcessName } from '@weir/single-machine';
import type { BenchPlatform } from '../bench/platform.js';
import { rssBytes } from '../bench/process-usage.js';

const SAMPLE_INTERVAL_MS = 100;
const MIB = 1024 * 1024;

/** Watches whether processes of the attacked platform stay alive, and their peak memory. */
export class WatchedProcesses {
  #peakBytes: number[];
  readonly #timer: NodeJS.Timeout;

  private constructor(
    private readonly platform: BenchPlatform,
    readonly names: readonly ProcessName[],
    private readonly pids: readonly number[],
  ) {
    this.#peakBytes = pids.map(rssBytes);
    this.#timer = setInterval(() => this.#sample(), SAMPLE_INTERVAL_MS);
  }

  static async of(platform: BenchPlatform, names: readonly ProcessName[]): Promise<WatchedProcesses> {
    return new WatchedProcesses(platform, names, await Promise.all(names.map((name) => platform.pidOf(name))));
  }

  /** The peak of each process since the last call, in MiB. */
  peaksMib(): number[] {
    this.#sample();
    const peaks = this.#peakBytes.map((bytes) => bytes / MIB);
    this.#peakBytes = this.#peakBytes.map(() => 0);
    return peaks;
  }

  /** A sentence for each process that has ended. */
  async ended(): Promise<string[]> {
    const now = await Promise.all(this.names.map((name) => this.platform.pidOf(name).catch(() => undefined)));
    return this.names.flatMap((name, index) => (now[index] === this.pids[index] ? [] : [`${name} has ended`]));
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #sample(): void {
    for (const [index, pid] of this.pids.entries()) {
      try {
        this.#peakBytes[index] = Math.max(this.#peakBytes[index] ?? 0, rssBytes(pid));
      } catch {
        // The process has ended, which `ended` reports.
      }
    }
  }
}
