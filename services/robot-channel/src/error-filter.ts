import { Catch, HttpException, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import { httpStatusOf } from '@weir/access';
import { ErrorCode, isWeirError } from '@weir/contracts';
import type { Logger } from '@weir/platform';
import type { FastifyReply, FastifyRequest } from 'fastify';

interface Answer {
  readonly status: number;
  readonly code: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, string>>;
}

const INTERNAL: Answer = { status: 500, code: 'INTERNAL', message: 'Something went wrong here', fields: {} };

const answerTo = (error: unknown): Answer => {
  const known = error instanceof HttpException && isWeirError(error.cause) ? error.cause : error;
  if (isWeirError(known)) {
    const { code, message, fields } = known;
    return code === ErrorCode.INTERNAL
      ? INTERNAL
      : { status: httpStatusOf(known), code: ErrorCode[code], message, fields };
  }
  if (!(error instanceof HttpException) || error.getStatus() >= 500) return INTERNAL;
  const status = error.getStatus();
  return { status, code: status === 404 ? 'NOT_FOUND' : 'INVALID', message: error.message, fields: {} };
};

/** Every error of the operator's REST as `{"error": {code, message, fields}}`. */
@Catch()
export class ErrorFilter implements ExceptionFilter {
  constructor(private readonly log: Pick<Logger, 'error' | 'warn'>) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const request = http.getRequest<FastifyRequest>();
    const { status, ...body } = answerTo(error);
    if (status >= 500) {
      const path = request.url.split('?', 1)[0];
      this.log[status === 500 ? 'error' : 'warn']({ err: error, method: request.method, path }, 'request failed');
    }
    const reply = http.getResponse<FastifyReply>().code(status);
    if (status === 401) reply.header('www-authenticate', 'Bearer');
    void reply.send({ error: body });
  }
}
