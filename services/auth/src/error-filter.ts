import { Catch } from '@nestjs/common';
import { failure, restErrorBody, RestErrorFilter, type ErrorBody, type RestError } from '@weir/rest';
import type { Logger } from '@weir/platform';
import { asWeirError } from '@weir/platform/database';
import type { FastifyRequest } from 'fastify';
import { EC } from './envelope.js';

const ecOf = (status: number): number => {
  if (status === 429) return EC.limited;
  if (status === 503 || status === 504) return EC.unavailable;
  return status >= 500 ? EC.logic : EC.input;
};

const isLogin = ({ url }: FastifyRequest): boolean => /^\/auth\/?(?:\?|$)/.test(url);

/** The usual error body, except for the log-in, whose errors are in its envelope. */
export const errorBody: ErrorBody = (answer, request) =>
  isLogin(request) ? failure(ecOf(answer.status), answer.message) : restErrorBody(answer);

@Catch()
export class ErrorFilter extends RestErrorFilter {
  constructor(log: Pick<Logger, 'error' | 'warn' | 'info'>) {
    super(log, errorBody);
  }

  protected override answerTo(error: unknown): RestError {
    return super.answerTo(asWeirError(error));
  }
}
