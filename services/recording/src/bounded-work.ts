import { types } from 'node:util';
import { createContext, Script } from 'node:vm';

/** Usual work takes some milliseconds. */
const LIMIT_MS = 2_000;
/** Into how many groups the members of rounds are divided, so that not all of them work at the same moment. */
const GROUPS = 5;

/** The work was stopped. What it was changing is in no known state. */
export class WorkStopped extends Error {
  override readonly name = 'WorkStopped';

  constructor() {
    super(`it takes more than ${LIMIT_MS / 1_000} s`);
  }
}

const sandbox: { work: () => void } = { work: () => undefined };
const context = createContext(sandbox);
const script = new Script('work()');

/**
 * Does synchronous work, such as reading packets, even if it contains an endless loop. Costs about 0.1 ms, because
 * another thread is started to watch it. The work may not enter an async context: when it is stopped it wouldn't leave
 * it, and Node would abort the process. Throws WorkStopped, and what the work throws.
 */
export function bounded<Result>(work: () => Result): Result {
  let result: { readonly value: Result } | undefined;
  sandbox.work = () => {
    result = { value: work() };
  };
  try {
    script.runInContext(context, { timeout: LIMIT_MS });
  } catch (error) {
    throw isTimeout(error) ? new WorkStopped() : error;
  } finally {
    sandbox.work = () => undefined;
  }
  if (result === undefined) throw new Error('work that has ended has no result');
  return result.value;
}

const isTimeout = (error: unknown): boolean =>
  types.isNativeError(error) && 'code' in error && error.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT';

export interface Member {
  /** May not enter an async context. */
  work(): void;
  /** Called afterwards, without a limit. Must not throw. */
  worked(): void;
  /** The work threw, or was stopped. Must not throw. */
  failed(error: unknown): void;
}

/** Lets each member do bounded work at an interval, many of them in one call. */
export class Rounds {
  readonly #groups = Array.from({ length: GROUPS }, () => new Set<Member>());
  #timer: NodeJS.Timeout | undefined;
  #turn = 0;

  constructor(private readonly intervalMs: number) {}

  /** @returns a function that takes the member out again */
  add(member: Member): () => void {
    const group = this.#groups.reduce((least, each) => (each.size < least.size ? each : least));
    group.add(member);
    this.#timer ??= setInterval(() => this.#next(), this.intervalMs / GROUPS);
    return () => {
      group.delete(member);
      if (this.#groups.some(({ size }) => size > 0)) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
    };
  }

  #next(): void {
    this.#turn = (this.#turn + 1) % GROUPS;
    const waiting = [...(this.#groups[this.#turn] ?? [])];
    const ready: Member[] = [];
    while (waiting.length > 0) {
      let working: Member | undefined;
      try {
        bounded(() => {
          for (working = waiting.shift(); working !== undefined; working = waiting.shift()) {
            working.work();
            ready.push(working);
          }
        });
      } catch (error) {
        working?.failed(error);
      }
    }
    for (const member of ready) member.worked();
  }
}
