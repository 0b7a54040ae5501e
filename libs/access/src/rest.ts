import { BadRequestException, Catch, HttpException, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { ErrorCode, isWeirError, WeirError } from '@weir/contracts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { httpStatusOf } from './http-status.js';

export interface RestError {
  /** Of HTTP. */
  readonly status: number;
  /** A name of ErrorCode. */
  readonly code: string;
  /** For people. */
  readonly message: string;
  readonly fields: Readonly<Record<string, string>>;
}

const INTERNAL: RestError = { status: 500, code: 'INTERNAL', message: 'Something went wrong here', fields: {} };
const CODES: Readonly<Record<number, string>> = { 401: 'UNAUTHENTICATED', 403: 'FORBIDDEN', 404: 'NOT_FOUND' };

/** What a client may know of an error: of one that nobody foresaw, nothing. */
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

/** Every error as `{"error": {code, message, fields}}` with its status; those of the server are logged. */
@Catch()
export class RestErrorFilter implements ExceptionFilter {
  constructor(private readonly log: Record<'error' | 'warn', (fields: object, message: string) => void>) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const request = http.getRequest<FastifyRequest>();
    const answer = restErrorOf(this.translated(error));
    if (answer.status >= 500) {
      // Without the query, which may hold a token.
      const path = request.url.split('?', 1)[0];
      this.log[answer.status === 500 ? 'error' : 'warn'](
        { err: error, method: request.method, path },
        'request failed',
      );
    }
    const reply = http.getResponse<FastifyReply>().code(answer.status);
    if (answer.status === 401) reply.header('www-authenticate', 'Bearer');
    void reply.send(this.bodyOf(answer, request));
  }

  /** A service's own errors in the words of the closed set. */
  protected translated(error: unknown): unknown {
    return error;
  }

  protected bodyOf({ code, message, fields }: RestError, _request: FastifyRequest): object {
    return { error: { code, message, fields } };
  }
}

/** Throws INVALID that tells every wrong field. */
export const parsed = <Output>(schema: z.ZodType<Output>, value: unknown): Output => {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const fields = Object.fromEntries(
    result.error.issues.map(({ path, message }) => [path.length === 0 ? 'body' : path.join('.'), message]),
  );
  throw new WeirError(ErrorCode.INVALID, 'The request can not be understood; see the fields', fields);
};

/** Vendor scripts send an empty body with the content type of JSON. */
export const acceptEmptyJson = (app: NestFastifyApplication, { maxBytes }: { maxBytes: number }): void => {
  app.useBodyParser('application/json', { bodyLimit: maxBytes }, (_request, body, done) => {
    try {
      const text = body.toString();
      done(null, text.trim() === '' ? undefined : JSON.parse(text));
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      done(new BadRequestException('The body is not JSON'));
    }
  });
};
