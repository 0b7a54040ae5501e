import { Catch } from '@nestjs/common';
import { failure, RestErrorFilter, type ErrorBody, type RestError } from '@weir/rest';
import type { Logger } from '@weir/platform';
import { ecOfStatus } from './envelope-errors.js';
import type { HlsMetrics } from './metrics.js';

/** After this time the same request may get another answer. */
const RETRY_AFTER_S = 1;

/** The envelope of the robots' interface. */
export const errorBody: ErrorBody = ({ status, message }) => failure(ecOfStatus(status), message);

/** Answers every error in the envelope of the robots' interface, with the matching HTTP status. */
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
