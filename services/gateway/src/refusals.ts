import { RefusalLog } from '@weir/access';
import type { IncomingMessage } from 'node:http';
import type { Origin } from './client-address.js';
import type { EdgeLog } from './edge-log.js';
import type { GatewayError } from './gateway-error.js';

const MAX_PATH_LENGTH = 500;

/** Logs one line for each client that the gateway itself refuses or fails; `RefusalLog` limits the lines of a flood. */
export class Refusals {
  readonly #lines: RefusalLog;

  constructor(private readonly log: EdgeLog) {
    this.#lines = new RefusalLog(log);
  }

  request(error: GatewayError, request: IncomingMessage, origin: Origin, requestId: string): void {
    const about = aboutRequest(request, origin, requestId);
    if (error.code === 'INTERNAL') this.log.error({ err: error.cause, ...about }, 'request failed in the gateway');
    else this.#lines.say('request refused', { ...about, ...answerOf(error) });
  }

  /** For an answer whose client read nothing of it for too long. */
  answerCutOff(request: IncomingMessage, origin: Origin, requestId: string): void {
    this.#lines.say('answer cut off', {
      ...aboutRequest(request, origin, requestId),
      reason: 'the client does not read; see WEIR_ANSWER_TIMEOUT_MS',
    });
  }

  /** For a connection that never became a request. */
  connection(error: GatewayError, address: string): void {
    const cause = error.cause instanceof Error ? error.cause.message : undefined;
    this.#lines.say('connection refused', { address, ...answerOf(error), ...(cause !== undefined && { cause }) });
  }
}

function aboutRequest({ method, headers, url }: IncomingMessage, { address, host }: Origin, requestId: string): object {
  // The query is left out because it may hold a token.
  const path = url?.split('?', 1)[0]?.slice(0, MAX_PATH_LENGTH);
  const page = headers.origin?.slice(0, MAX_PATH_LENGTH);
  return { requestId, address, method, path, host, ...(page !== undefined && { page }) };
}

const answerOf = ({ statusCode: status, code, message: reason }: GatewayError): object => ({ status, code, reason });
