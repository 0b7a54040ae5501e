import { UseInterceptors, type CallHandler, type ExecutionContext, type NestInterceptor } from '@nestjs/common';
import { context, propagation, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import type { FastifyRequest } from 'fastify';
import { lastValueFrom, of, type Observable } from 'rxjs';
import { restErrorOf } from './error-filter.js';

const tracer = trace.getTracer('@weir/rest');

/** Does each request in a span of the trace that the gateway has begun. The span fails if the fault is the server's. */
class TracedInterceptor implements NestInterceptor {
  constructor(private readonly subject: string) {}

  async intercept(execution: ExecutionContext, next: CallHandler): Promise<Observable<unknown>> {
    const { headers } = execution.switchToHttp().getRequest<FastifyRequest>();
    const parent = propagation.extract(context.active(), headers);
    const name = `${this.subject} ${execution.getHandler().name}`;
    const span = tracer.startSpan(name, { kind: SpanKind.SERVER }, parent);
    try {
      const handled = () => lastValueFrom(next.handle(), { defaultValue: undefined });
      return of(await context.with(trace.setSpan(parent, span), handled));
    } catch (error) {
      if (restErrorOf(error).status >= 500)
        span.setStatus({ code: SpanStatusCode.ERROR, message: error instanceof Error ? error.message : String(error) });
      throw error;
    } finally {
      span.end();
    }
  }
}

/** Traces the handlers of a controller. A span is named after the subject and the handler, such as "relay push". */
export const Traced = (subject: string): ClassDecorator => UseInterceptors(new TracedInterceptor(subject));
