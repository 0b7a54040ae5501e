import { setTimeout as sleep } from 'node:timers/promises';
import { neverSent } from '@weir/bus';
import { ErrorCode, isWeirError } from '@weir/contracts';

/**
 * The pauses after which a call that failed is made again. What a failure means is the same for every call:
 *
 * - UNAVAILABLE or DEADLINE: nobody knows whether the call was carried out, and it may succeed later. A call that may be
 *   made twice (close, find) is made again after each of these pauses, as long as its node isn't known to be gone. A call
 *   that opens a session isn't made again: whoever asked is told at once, and what the call may have left is closed.
 * - Any other error is the media core's answer, which would be the same again.
 */
const RETRY_PAUSES_MS = [250, 1_000, 4_000];

const mayPass = (error: unknown): boolean =>
  isWeirError(error, ErrorCode.UNAVAILABLE) || isWeirError(error, ErrorCode.DEADLINE);

/** Whether the call may have been carried out although it failed. */
export const mayBeDone = (error: unknown): boolean => (mayPass(error) && !neverSent(error)) || !isWeirError(error);

export interface Persistence {
  /** Asked before each new try. */
  readonly goesOn: () => boolean;
  /** Ends the pause, after which there is no new try. */
  readonly signal: AbortSignal;
}

/** Makes a call that may be made twice. Throws what the last try threw. */
export async function persistently<Reply>(call: () => Promise<Reply>, { goesOn, signal }: Persistence): Promise<Reply> {
  for (const pauseMs of RETRY_PAUSES_MS) {
    try {
      return await call();
    } catch (error) {
      if (!mayPass(error) || !goesOn() || signal.aborted) throw error;
      await pause(pauseMs, signal);
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
