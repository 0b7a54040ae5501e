import { Catch } from '@nestjs/common';
import { RestErrorFilter, type ErrorBody, type RestError } from '@weir/access';
import type { Logger } from '@weir/platform';
import { ecOfStatus, failure } from './envelope.js';
import type { HlsMetrics } from './metrics.js';

/** After so long an answer may be another one. */
const RETRY_AFTER_S = 1;

/** The robots' interface's envelope. */
export const errorBody: ErrorBody = ({ status, message }) => failure(ecOfStatus(status), message);

/** Every error in the robots' interface's envelope, with the status that says the same. */
@Catch()
export class ErrorFilter extends RestErrorFilter {
  constructor(
    log: Pick<Logger, 'error' | 'warn' | 'info'>,
    private readonly metrics: Pick<HlsMetrics, 'refused'>,
  ) {
    super(log, errorBody);
  }

  protected override answerTo(error: unknown): RestError {
    const answer = super.answerTo(error);
    this.metrics.refused(answer.status);
    return answer;
  }

  protected override headersOf({ status }: RestError): Readonly<Record<string, string>> {
    return {
      'cache-control': 'no-store',
      ...((status === 429 || status === 503) && { 'retry-after': String(RETRY_AFTER_S) }),
    };
  }
}
