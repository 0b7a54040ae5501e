import type { BenchPlatform } from '../bench/platform.js';
import type { Table } from '../bench/table.js';
import type { SeededRandom } from './seeded-random.js';

export interface SeriesContext {
  platform: BenchPlatform;
  /** Fewer and smaller attacks, which show that the series works and that nothing breaks at once. */
  short: boolean;
  /** How often the attack is made; the random numbers make each one different. */
  trials: number;
  random: SeededRandom;
  /** The one thing to kill in every trial, for a series that kills different ones. */
  only?: string | undefined;
  /** Reports the progress. */
  log(line: string): void;
}

export interface SeriesResult {
  tables: Table[];
  /** One sentence for each thing that the platform should have withstood but didn't. */
  broken: string[];
}

/** Attacks a running platform in a way that it must withstand, and reports the result. */
export interface Series {
  name: string;
  /** How often the attack is made by default. */
  trials: { full: number; short: number };
  /** What a series kills, one after the other. */
  kills?: readonly string[];
  run(context: SeriesContext): Promise<SeriesResult>;
}
