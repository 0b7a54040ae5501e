import { RefusalLog } from '@weir/access';
import type { IncomingMessage } from 'node:http';
import type { Origin } from './client-address.js';
import type { EdgeLog } from './edge-log.js';
import type { GatewayError } from './gateway-error.js';

const MAX_PATH_LENGTH = 500;

/** Logs one line for each client that the gateway itself refuses or fails; `RefusalLog` limits the lines of a flood. */
export class Refusals {
  private readonly lines: RefusalLog;

  constructor(private readonly log: EdgeLog) {
    this.lines = new RefusalLog(log);
  }

  request(error: GatewayError, request: IncomingMessage, { address, host }: Origin, requestId: string): void {
    const { method, headers } = request;
    // The query is left out because it may hold a token.
    const path = request.url?.split('?', 1)[0]?.slice(0, MAX_PATH_LENGTH);
    const page = headers.origin?.slice(0, MAX_PATH_LENGTH);
    const about = { requestId, address, method, path, host, ...(page !== undefined && { page }) };
    if (error.code === 'INTERNAL') this.log.error({ err: error.cause, ...about }, 'request failed in the gateway');
    else this.lines.say('request refused', { ...about, ...answerOf(error) });
  }

  /** For a connection that never became a request. */
  connection(error: GatewayError, address: string): void {
    const cause = error.cause instanceof Error ? error.cause.message : undefined;
    this.lines.say('connection refused', { address, ...answerOf(error), ...(cause !== undefined && { cause }) });
  }
}

const answerOf = ({ statusCode: status, code, message: reason }: GatewayError): object => ({ status, code, reason });
