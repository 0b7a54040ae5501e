import { backOffMs, type Pace } from '@weir/timing';
import type { ClientEndReason } from './client-state.js';

const FAULT: Pace = { firstMs: 500, maxMs: 30_000 };
/**
 * A camera that refuses is tried again once a minute, because its operator may change the password or reconnect the
 * lens.
 */
const REFUSAL: Pace = { firstMs: 60_000, maxMs: 60_000 };

/**
 * How long to wait before the next pull; undefined if another try can't help.
 * @param attempt number of failures in a row, from 1
 * @param jitter uniform in [0, 1): the delay is between half and all of the doubled step, so that many cameras behind
 *   one broken switch don't come back at the same moment
 */
export function retryDelayMs(reason: ClientEndReason, attempt: number, jitter: number): number | undefined {
  const pace = paceOf(reason);
  return pace && backOffMs(pace, attempt - 1, jitter);
}

function paceOf(reason: ClientEndReason): Pace | undefined {
  switch (reason.tag) {
    case 'unreachable':
    case 'closed-by-server':
    case 'timed-out':
    case 'media-silent':
    case 'malformed':
      return FAULT;
    case 'untrusted':
    case 'unauthorised':
    case 'refused':
    case 'no-tracks':
    case 'unsupported-transport':
    case 'too-many-redirects':
      return REFUSAL;
    case 'guarded':
    case 'stopped':
      return undefined;
    default: {
      const never: never = reason;
      return never;
    }
  }
}
