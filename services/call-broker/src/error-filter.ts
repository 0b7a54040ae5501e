import { Catch } from '@nestjs/common';
import type { Logger } from '@weir/platform';
import { asWeirError } from '@weir/platform/database';
import type { errorAnswer } from '@weir/protocol-topvdn';
import { restErrorBody, RestErrorFilter, type RestError } from '@weir/rest';
import type { FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { requestIdOf } from './request-id.js';

/** Whether the request is one of the Web API and not one of weir's own REST. */
const isOfWebApi = ({ url }: FastifyRequest): boolean => /^\/v2(?:[/?]|$)/.test(url);

/** In the Web API the status says what is wrong, and the message says it to people. */
export const errorBody = (error: RestError, request: FastifyRequest): object => {
  if (!isOfWebApi(request)) return restErrorBody(error);
  const fields = Object.entries(error.fields).map(([field, words]) => `${field}: ${words}`);
  const message = [error.message, ...fields].join('; ');
  return { message, request_id: requestIdOf(request) } satisfies z.infer<typeof errorAnswer>;
};

@Catch()
export class ErrorFilter extends RestErrorFilter {
  constructor(log: Logger) {
    super(log, errorBody);
  }

  protected override answerTo(error: unknown): RestError {
    return super.answerTo(asWeirError(error));
  }
}
