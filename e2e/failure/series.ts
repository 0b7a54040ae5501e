import type { BenchPlatform } from '../bench/platform.js';
import type { Table } from '../bench/table.js';
import type { SeededRandom } from './seeded-random.js';

export interface SeriesContext {
  platform: BenchPlatform;
  /** Fewer and smaller: shows that the series works and that nothing gives way at once. */
  short: boolean;
  /** How often the attack is made; each time otherwise, by the random numbers. */
  trials: number;
  random: SeededRandom;
  /** Tells how far it is. */
  log(line: string): void;
}

export interface SeriesResult {
  tables: Table[];
  /** What the platform should have withstood and didn't, a sentence each. */
  broken: string[];
}

/** Does to a running platform what it must withstand, and says what came of it. */
export interface Series {
  name: string;
  /** How often, where nothing is said. */
  trials: { full: number; short: number };
  run(context: SeriesContext): Promise<SeriesResult>;
}
