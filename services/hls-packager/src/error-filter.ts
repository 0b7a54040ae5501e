import { Catch, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import { restErrorOf } from '@weir/access';
import type { Logger } from '@weir/platform';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { ecOfStatus, failure } from './envelope.js';
import type { HlsMetrics } from './metrics.js';

/** After so long an answer may be another one. */
const RETRY_AFTER_S = 1;

/** Every error in the robots' interface's envelope, with the status that says the same. */
@Catch()
export class ErrorFilter implements ExceptionFilter {
  constructor(
    private readonly log: Pick<Logger, 'error' | 'warn'>,
    private readonly metrics: Pick<HlsMetrics, 'refused'>,
  ) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const { status, message } = restErrorOf(error);
    if (status === 500) {
      const request = http.getRequest<FastifyRequest>();
      // Without the query, which may hold a token.
      const path = request.url.split('?', 1)[0];
      this.log.error({ err: error, method: request.method, path }, 'request failed');
    }
    this.metrics.refused(status);
    const reply = http.getResponse<FastifyReply>();
    if (reply.raw.destroyed || reply.sent) return;
    if (status === 401) reply.header('www-authenticate', 'Bearer');
    if (status === 429 || status === 503) reply.header('retry-after', String(RETRY_AFTER_S));
    void reply
      .code(status)
      .header('cache-control', 'no-store')
      .send(failure(ecOfStatus(status), message));
  }
}
