import { ChildProgram } from '../bench/child-program.js';

export interface VisitorsOptions {
  httpUrl: string;
  /** A loopback address that nobody else in the run uses, so that limits per address don't affect these clients. */
  address: string;
  /** The paths to request, one after the other, again and again. */
  paths: readonly string[];
  headers?: Readonly<Record<string, string>>;
}

export interface Visits {
  asked: number;
  /** Requests that got no answer in time, or one with status 429 or higher. */
  failed: number;
  p50Ms: number;
  maxMs: number;
}

/**
 * The other clients, which must not notice the attack. They make requests, each on its own connection, from a separate
 * process, which isn't busy with the attack.
 */
export class Visitors {
  constructor(private readonly options: VisitorsOptions) {}

  /** Makes requests for that long and waits for the answers. */
  async watch(durationMs: number): Promise<Visits> {
    const args = [JSON.stringify(this.options), String(durationMs)];
    const { ready } = await ChildProgram.start<Visits>('../failure/visits', args);
    return ready;
  }
}

export const visitCells = ({ asked, failed, p50Ms, maxMs }: Visits): number[] => [asked, failed, p50Ms, maxMs];
export const VISIT_COLUMNS = ['asked', 'failed', 'p50 ms', 'max ms'] as const;
