import { fork } from 'node:child_process';
import { once } from 'node:events';

export interface VisitorsOptions {
  httpUrl: string;
  /** Of loopback, where nobody else of the run comes from: limits per address must not be theirs. */
  address: string;
  /** Asked for one after the other, again and again. */
  paths: readonly string[];
  headers?: Readonly<Record<string, string>>;
}

export interface Visits {
  asked: number;
  /** Without an answer in time, or with one that says that the platform can't. */
  failed: number;
  p50Ms: number;
  maxMs: number;
}

/**
 * The other clients: they ask, each on a connection of its own, and are to notice nothing. They are a process of their
 * own, which isn't busy with the attack.
 */
export class Visitors {
  constructor(private readonly options: VisitorsOptions) {}

  /** Asks for so long, and waits for the answers. */
  async watch(durationMs: number): Promise<Visits> {
    const args = [JSON.stringify(this.options), String(durationMs)];
    const child = fork(new URL('./visits.js', import.meta.url), args, { execArgv: [] });
    const ended = once(child, 'exit').then(([status, signal]) => {
      throw new Error(`the other clients ended with ${String(signal ?? status)}`);
    });
    const [visits] = (await Promise.race([once(child, 'message'), ended])) as [Visits];
    ended.catch(() => undefined); // it has said what it had to say
    return visits;
  }
}

export const visitCells = ({ asked, failed, p50Ms, maxMs }: Visits): number[] => [asked, failed, p50Ms, maxMs];
export const VISIT_COLUMNS = ['asked', 'failed', 'p50 ms', 'max ms'] as const;
