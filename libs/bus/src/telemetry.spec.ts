import { SpanKind, SpanStatusCode, context, metrics as metricsApi, trace } from '@opentelemetry/api';
import { metrics, node, tracing } from '@opentelemetry/sdk-node';
import { ErrorCode, WeirError } from '@weir/contracts';
import { waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Library, LibraryEvents } from './gen/fixture_pb.js';
import { Testbed } from './testbed.js';

const { lend, lendAtOnce } = Library.method;
const { opened } = LibraryEvents.method;

const spans = new tracing.InMemorySpanExporter();
const tracers = new node.NodeTracerProvider({ spanProcessors: [new tracing.SimpleSpanProcessor(spans)] });
const points = new metrics.InMemoryMetricExporter(metrics.AggregationTemporality.DELTA);
const reader = new metrics.PeriodicExportingMetricReader({ exporter: points, exportIntervalMillis: 3_600_000 });

let bed: Testbed;
beforeAll(async () => {
  tracers.register();
  metricsApi.setGlobalMeterProvider(new metrics.MeterProvider({ readers: [reader] }));
  bed = await Testbed.start();
});
afterEach(async () => {
  await bed.clear();
  spans.reset();
});
afterAll(async () => {
  await bed.stop();
  await reader.shutdown();
  await tracers.shutdown();
});

const found = (name: string, kind: SpanKind): tracing.ReadableSpan | undefined =>
  spans.getFinishedSpans().find((span) => span.name === name && span.kind === kind);

const span = (name: string, kind: SpanKind): Promise<tracing.ReadableSpan> =>
  waitFor(() => found(name, kind), { what: `the span ${SpanKind[kind]} ${name}` });

describe('a trace', () => {
  it('leads from the caller through a handler to the calls and events of that handler', async () => {
    const [client, server, backend] = await Promise.all([bed.bus(), bed.bus(), bed.bus()]);
    backend.serve(lendAtOnce, () => ({}));
    backend.subscribe(opened, () => undefined);
    server.serve(lend, async () => {
      await server.call(lendAtOnce, {});
      server.publish(opened, {});
      return {};
    });
    await Promise.all([server.flush(), backend.flush()]);
    const root = trace.getTracer('spec').startSpan('a frame');
    await context.with(trace.setSpan(context.active(), root), () => client.call(lend, {}));
    root.end();

    const names = {
      lend: 'weir.fixture.v1.Library.Lend',
      lendAtOnce: 'weir.fixture.v1.Library.LendAtOnce',
      opened: 'weir.fixture.v1.LibraryEvents.Opened',
    };
    const call = await span(names.lend, SpanKind.CLIENT);
    const handling = await span(names.lend, SpanKind.SERVER);
    const told = await span(names.opened, SpanKind.PRODUCER);
    const nested = await span(names.lendAtOnce, SpanKind.CLIENT);
    const parents = new Map([
      [call, root.spanContext().spanId],
      [handling, call.spanContext().spanId],
      [nested, handling.spanContext().spanId],
      [await span(names.lendAtOnce, SpanKind.SERVER), nested.spanContext().spanId],
      [told, handling.spanContext().spanId],
      [await span(names.opened, SpanKind.CONSUMER), told.spanContext().spanId],
    ]);
    for (const [child, parentId] of parents) {
      expect(child.parentSpanContext?.spanId, `${SpanKind[child.kind]} ${child.name}`).toBe(parentId);
      expect(child.spanContext().traceId).toBe(root.spanContext().traceId);
    }
    expect(call.attributes).toEqual({
      'rpc.system': 'weir',
      'rpc.service': 'weir.fixture.v1.Library',
      'rpc.method': 'Lend',
      'messaging.system': 'nats',
    });
  });

  it('shows the failure on both sides, but the reply contains no details', async () => {
    const [client, server] = await Promise.all([bed.bus(), bed.bus()]);
    server.serve(lend, () => {
      throw new Error('secret');
    });
    await server.flush();
    await expect(client.call(lend, {})).rejects.toMatchObject({ code: ErrorCode.INTERNAL });
    for (const kind of [SpanKind.CLIENT, SpanKind.SERVER]) {
      const { status, ended } = await span('weir.fixture.v1.Library.Lend', kind);
      expect({ status, ended }).toEqual({ status: { code: SpanStatusCode.ERROR, message: 'internal' }, ended: true });
    }
    const { events } = await span('weir.fixture.v1.Library.Lend', SpanKind.CLIENT);
    expect(JSON.stringify(events)).not.toContain('secret');
  });
});

describe('weir.bus.call.duration', () => {
  it('counts calls by method and outcome, in seconds', async () => {
    // Drops the counts of the other tests.
    await reader.forceFlush();
    points.reset();
    const [client, server] = await Promise.all([bed.bus(), bed.bus()]);
    const registration = server.serve(lend, ({ copies }) => {
      if (copies === 1) throw new WeirError(ErrorCode.NOT_FOUND, 'no');
      return {};
    });
    server.serve(lendAtOnce, () => new Promise(() => undefined));
    await server.flush();
    for (const copies of [0, 0, 0, 1, 1]) await client.call(lend, { copies }).catch(() => undefined);
    await client.call(lendAtOnce, {}).catch(() => undefined);
    await registration.close();
    await client.call(lend, {}).catch(() => undefined);
    await reader.forceFlush();
    const metric = points
      .getMetrics()
      .flatMap(({ scopeMetrics }) => scopeMetrics)
      .filter(({ scope }) => scope.name === '@weir/bus')
      .flatMap((scope) => scope.metrics)
      .find(({ descriptor }) => descriptor.name === 'weir.bus.call.duration');
    expect(metric?.descriptor.unit).toBe('s');
    if (metric?.dataPointType !== metrics.DataPointType.HISTOGRAM) expect.unreachable();
    const seen = new Map(
      metric.dataPoints.map(({ attributes, value }) => [`${attributes['method']} ${attributes['outcome']}`, value]),
    );
    const mine = { ok: 3, not_found: 2, unavailable: 1 };
    for (const [outcome, count] of Object.entries(mine)) {
      expect(seen.get(`weir.fixture.v1.Library.Lend ${outcome}`)?.count, outcome).toBe(count);
    }
    const late = seen.get('weir.fixture.v1.Library.LendAtOnce deadline');
    expect(late?.count).toBe(1);
    // The deadline of 150 ms, in seconds.
    expect(late?.sum).toBeGreaterThan(0.14);
    expect(late?.sum).toBeLessThan(100);
  });
});
