import type { BenchPlatform } from './platform.js';
import type { Table } from './table.js';

export interface BenchmarkContext {
  platform: BenchPlatform;
  /** Few joins, few players, short windows: this shows that the benchmark works, but measures nothing. */
  short: boolean;
  /** Reports the progress. */
  log(line: string): void;
}

export interface BenchmarkResult {
  tables: Table[];
  /** The plain data from which the tables were made. */
  figures: Record<string, unknown>;
}

/** Measures weir and, alternating in the same run, a baseline that does only the minimum. */
export interface Benchmark {
  name: string;
  run(context: BenchmarkContext): Promise<BenchmarkResult>;
}
