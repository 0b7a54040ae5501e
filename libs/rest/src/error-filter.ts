import { Catch, HttpException, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import { ErrorCode, isWeirError } from '@weir/contracts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { httpStatusOf } from './http-status.js';
import { RefusalLog } from '@weir/access';

export interface RestError {
  /** The HTTP status. */
  readonly status: number;
  /** A name of ErrorCode, or a code of the service's own. */
  readonly code: string;
  /** For people. */
  readonly message: string;
  readonly fields: Readonly<Record<string, string>>;
}

/** Builds the body of an error in a protocol's own shape. */
export type ErrorBody = (error: RestError, request: FastifyRequest) => object;

const INTERNAL: RestError = { status: 500, code: 'INTERNAL', message: 'The server failed unexpectedly', fields: {} };
const CODES: Readonly<Record<number, string>> = { 401: 'UNAUTHENTICATED', 403: 'FORBIDDEN', 404: 'NOT_FOUND' };

/** What a client may know about an error. Of an unexpected one it learns nothing but INTERNAL. */
export const restErrorOf = (error: unknown): RestError => {
  const known = error instanceof HttpException && isWeirError(error.cause) ? error.cause : error;
  if (isWeirError(known)) {
    const { code, message, fields } = known;
    return code === ErrorCode.INTERNAL
      ? INTERNAL
      : { status: httpStatusOf(known), code: ErrorCode[code], message, fields };
  }
  if (!(error instanceof HttpException) || error.getStatus() >= 500) return INTERNAL;
  const status = error.getStatus();
  return { status, code: CODES[status] ?? 'INVALID', message: error.message, fields: {} };
};

export const restErrorSchema = z.strictObject({
  error: z.strictObject({ code: z.string(), message: z.string(), fields: z.record(z.string(), z.string()) }),
});

/** `{"error": {code, message, fields}}`. */
export const restErrorBody = ({ code, message, fields }: RestError): z.infer<typeof restErrorSchema> => ({
  error: { code, message, fields },
});

type Say = (fields: object, message: string) => void;

/** Answers every error in the protocol's shape, and logs it; a refused request is logged with what the client sent. */
@Catch()
export class RestErrorFilter implements ExceptionFilter {
  readonly #refusals: RefusalLog;

  constructor(
    private readonly log: { error: Say; warn: Say; info?: Say },
    private readonly bodyOf: ErrorBody = restErrorBody,
  ) {
    this.#refusals = new RefusalLog(log);
  }

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const request = http.getRequest<FastifyRequest>();
    const reply = http.getResponse<FastifyReply>();
    // The client has gone. That its request broke off isn't our error.
    if (reply.raw.destroyed || reply.sent) return;
    const answer = this.answerTo(error);
    // Without the query, which may hold a token.
    const path = request.url.split('?', 1)[0];
    const about = { method: request.method, path, address: request.ip };
    if (answer.status >= 500)
      this.log[answer.status === 500 ? 'error' : 'warn']({ err: error, ...about }, 'request failed');
    else {
      const { status, code, message: reason, fields } = answer;
      this.#refusals.say('request refused', { ...about, status, code, reason, fields }, request.body);
    }
    if (answer.status === 401) reply.header('www-authenticate', 'Bearer');
    void reply.code(answer.status).headers(this.headersOf(answer)).send(this.bodyOf(answer, request));
  }

  /** A subclass maps its service's own errors here. */
  protected answerTo(error: unknown): RestError {
    return restErrorOf(error);
  }

  /** A subclass adds its protocol's headers here. */
  protected headersOf(_answer: RestError): Readonly<Record<string, string>> {
    return {};
  }
}
