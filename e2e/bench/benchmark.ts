import type { BenchPlatform } from './platform.js';
import type { Table } from './table.js';

export interface BenchmarkContext {
  platform: BenchPlatform;
  /** Few joins, few players, short windows: shows that the benchmark works, measures nothing. */
  short: boolean;
  /** Tells how far it is. */
  log(line: string): void;
}

export interface BenchmarkResult {
  tables: Table[];
  /** What the tables were made of: plain data. */
  figures: Record<string, unknown>;
}

/** Measures weir and, in turns within the same run, a baseline that does the least that would do. */
export interface Benchmark {
  name: string;
  run(context: BenchmarkContext): Promise<BenchmarkResult>;
}
