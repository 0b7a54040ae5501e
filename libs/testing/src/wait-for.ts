import { setTimeout as sleep } from 'node:timers/promises';

export interface WaitOptions {
  /** Default 10000. */
  readonly timeoutMs?: number;
  /** Default 20. */
  readonly intervalMs?: number;
  /** What is waited for; the error names it. */
  readonly what?: string;
}

/**
 * Asks again and again until the answer is neither undefined, null nor false, and returns it. A predicate that throws
 * hasn't answered yet; what it threw last is the cause of the error when time is up.
 */
export async function waitFor<Value>(
  predicate: () => Value | Promise<Value>,
  { timeoutMs = 10_000, intervalMs = 20, what = 'the condition' }: WaitOptions = {},
): Promise<Exclude<Value, undefined | null | false>> {
  const endsAtMs = performance.now() + timeoutMs;
  let cause: unknown;
  for (;;) {
    try {
      const value = await predicate();
      if (isAnswer(value)) return value;
      cause = undefined;
    } catch (error) {
      cause = error;
    }
    if (performance.now() >= endsAtMs) throw new Error(`${what} didn't come about within ${timeoutMs} ms`, { cause });
    await sleep(intervalMs);
  }
}

const isAnswer = <Value>(value: Value): value is Exclude<Value, undefined | null | false> =>
  value !== undefined && value !== null && value !== false;
