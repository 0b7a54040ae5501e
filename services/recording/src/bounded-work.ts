import { types } from 'node:util';
import { createContext, Script } from 'node:vm';

/** What is done at once for one recording takes some milliseconds. */
const LIMIT_MS = 2_000;

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
 * another thread watches. Throws WorkStopped, and what the work throws.
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
