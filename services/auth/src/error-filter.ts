import { Catch } from '@nestjs/common';
import { RestErrorFilter, type RestError } from '@weir/access';
import type { FastifyRequest } from 'fastify';
import { asWeirError } from '@weir/platform/database';
import { EC, failure } from './envelope.js';

const ecOf = (status: number): number => {
  if (status === 429) return EC.limited;
  if (status === 503 || status === 504) return EC.unavailable;
  return status >= 500 ? EC.logic : EC.input;
};

const isLogin = ({ method, url }: FastifyRequest): boolean => method === 'POST' && /^\/auth\/?(?:\?|$)/.test(url);

/** As everywhere, but for the log-in, whose errors are in its envelope. */
@Catch()
export class ErrorFilter extends RestErrorFilter {
  protected override translated(error: unknown): unknown {
    return asWeirError(error);
  }

  protected override bodyOf(answer: RestError, request: FastifyRequest): object {
    return isLogin(request) ? failure(ecOf(answer.status), answer.message) : super.bodyOf(answer, request);
  }
}
