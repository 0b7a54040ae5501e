import { Controller, Get, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { SpanStatusCode, trace } from '@opentelemetry/api';
import { NodeSDK, tracing } from '@opentelemetry/sdk-node';
import { ErrorCode, WeirError } from '@weir/contracts';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { RestErrorFilter } from './error-filter.js';
import { Traced } from './traced.js';

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';

const exporter = new tracing.InMemorySpanExporter();
const sdk = new NodeSDK({
  autoDetectResources: false,
  instrumentations: [],
  spanProcessors: [new tracing.SimpleSpanProcessor(exporter)],
});

@Controller('robots')
@Traced('robot')
class RobotsController {
  @Get('list')
  async list() {
    trace.getTracer('spec').startSpan('what the handler does').end();
    return { robots: [] };
  }

  @Get('refused')
  refused() {
    throw new WeirError(ErrorCode.FORBIDDEN, 'You may not see the robots');
  }

  @Get('failed')
  async failed() {
    throw new WeirError(ErrorCode.UNAVAILABLE, 'The database is away');
  }
}

@Module({ controllers: [RobotsController] })
class TestModule {}

let app: NestFastifyApplication;

beforeAll(async () => {
  sdk.start();
  app = await NestFactory.create<NestFastifyApplication>(TestModule, new FastifyAdapter(), { logger: false });
  app.useGlobalFilters(new RestErrorFilter({ error: () => undefined, warn: () => undefined }));
  await app.init();
});
beforeEach(() => exporter.reset());
afterAll(async () => {
  await app.close();
  await sdk.shutdown();
});

const request = (url: string) =>
  app.inject({ method: 'GET', url, headers: { traceparent: `00-${TRACE_ID}-b7ad6b7169203331-01` } });
const spans = () => exporter.getFinishedSpans();

test("a request is a span of the gateway's trace, and what its handler does belongs to it", async () => {
  const answer = await request('/robots/list');
  expect(answer.json()).toEqual({ robots: [] });
  expect(spans().map(({ name }) => name)).toEqual(['what the handler does', 'robot list']);
  expect(spans().map((span) => span.spanContext().traceId)).toEqual([TRACE_ID, TRACE_ID]);
  expect(spans()[0]?.parentSpanContext?.spanId).toBe(spans()[1]?.spanContext().spanId);
});

test("a span fails when the fault is the server's, and not when it is the client's", async () => {
  expect((await request('/robots/refused')).statusCode).toBe(403);
  expect((await request('/robots/failed')).statusCode).toBe(503);
  expect(spans().map(({ name, status }) => [name, status.code])).toEqual([
    ['robot refused', SpanStatusCode.UNSET],
    ['robot failed', SpanStatusCode.ERROR],
  ]);
});
