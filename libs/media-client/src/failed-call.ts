import { setTimeout as sleep } from 'node:timers/promises';
import { neverSent } from '@weir/bus';
import { ErrorCode, isWeirError } from '@weir/contracts';
import { backOffMs, type Pace } from '@weir/timing';

/**
 * The pauses before a failed call is made again. A failure means the same for every call:
 *
 * - UNAVAILABLE or DEADLINE: it is unknown whether the call was carried out, and it may succeed later. A call that is
 *   safe to repeat (close, find) is repeated after 0.25, 1 and 4 s, unless its node is known to be gone. A call
 *   that opens a session isn't repeated: the caller learns of the failure at once, and a session that it may have left
 *   is closed.
 * - Any other error is the media core's answer, and would be the same again.
 */
const PACE: Pace = { firstMs: 250, maxMs: 4_000, factor: 4 };
const RETRIES = 3;

const mayPass = (error: unknown): boolean =>
  isWeirError(error, ErrorCode.UNAVAILABLE) || isWeirError(error, ErrorCode.DEADLINE);

/** Whether the call may have been carried out although it failed. */
export const mayBeDone = (error: unknown): boolean => (mayPass(error) && !neverSent(error)) || !isWeirError(error);

export interface Persistence {
  /** Checked before each new try. */
  readonly goesOn: () => boolean;
  /** Ends the pause; then there is no new try. */
  readonly signal: AbortSignal;
}

/** Makes a call that is safe to repeat. Throws the error of the last try. */
export async function persistently<Reply>(call: () => Promise<Reply>, { goesOn, signal }: Persistence): Promise<Reply> {
  for (let retries = 0; retries < RETRIES; retries += 1) {
    try {
      return await call();
    } catch (error) {
      if (!mayPass(error) || !goesOn() || signal.aborted) throw error;
      await pause(backOffMs(PACE, retries), signal);
      if (signal.aborted) throw error;
    }
  }
  return call();
}

async function pause(pauseMs: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(pauseMs, undefined, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
