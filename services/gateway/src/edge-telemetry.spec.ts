import { metrics, propagation, trace } from '@opentelemetry/api';
import { core, metrics as sdkMetrics, tracing } from '@opentelemetry/sdk-node';
import { waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { startEdge, stopEdges } from './testing/edge-under-test.js';
import { startService, stopServices } from './testing/service-stand-in.js';

const spans = new tracing.InMemorySpanExporter();
const exported = new sdkMetrics.InMemoryMetricExporter(sdkMetrics.AggregationTemporality.CUMULATIVE);
const reader = new sdkMetrics.PeriodicExportingMetricReader({ exporter: exported, exportIntervalMillis: 3_600_000 });

beforeAll(() => {
  trace.setGlobalTracerProvider(
    new tracing.BasicTracerProvider({ spanProcessors: [new tracing.SimpleSpanProcessor(spans)] }),
  );
  metrics.setGlobalMeterProvider(new sdkMetrics.MeterProvider({ readers: [reader] }));
  propagation.setGlobalPropagator(new core.W3CTraceContextPropagator());
});
afterEach(async () => {
  await stopEdges();
  await stopServices();
  spans.reset();
});
afterAll(() => {
  trace.disable();
  metrics.disable();
  propagation.disable();
});

/** The value of a metric's data point with these attributes. */
async function measured(name: string, attributes: Record<string, unknown>): Promise<unknown> {
  exported.reset();
  await reader.forceFlush();
  const points = exported
    .getMetrics()
    .flatMap(({ scopeMetrics }) => scopeMetrics)
    .flatMap((scope) => scope.metrics)
    .filter(({ descriptor }) => descriptor.name === name)
    .flatMap(({ dataPoints }): readonly { attributes: object; value: unknown }[] => dataPoints);
  const wanted = Object.entries(attributes);
  return points.find((point) => wanted.every(([key, value]) => Reflect.get(point.attributes, key) === value))?.value;
}

describe('telemetry', () => {
  it('makes one span for each request, a child of the client’s and the parent of the service’s', async () => {
    const auth = await startService();
    const { url } = await startEdge({ WEIR_UPSTREAM_AUTH: auth.url });
    const traceId = '0af7651916cd43dd8448eb211c80319c';
    await fetch(`${url}/auth/?password=x`, { headers: { traceparent: `00-${traceId}-b7ad6b7169203331-01` } });
    const span = await waitFor(() => spans.getFinishedSpans()[0]);
    expect(span.spanContext().traceId).toBe(traceId);
    expect(span.parentSpanContext?.spanId).toBe('b7ad6b7169203331');
    expect(span.attributes).toMatchObject({
      'http.request.method': 'GET',
      'http.route': '/auth/*',
      'url.path': '/auth/',
      'weir.service': 'auth',
      'http.response.status_code': 200,
    });
    expect(auth.requests[0]?.headers['traceparent']).toBe(`00-${traceId}-${span.spanContext().spanId}-01`);
  });

  it('makes one span for each handshake and passes it on', async () => {
    const wcs = await startService();
    const { socketUrl } = await startEdge({ WEIR_UPSTREAM_WCS_SIGNALLING: wcs.url });
    const socket = new WebSocket(socketUrl);
    await new Promise((resolve) => socket.once('open', resolve));
    const span = await waitFor(() => spans.getFinishedSpans()[0]);
    expect(span.attributes).toMatchObject({ 'weir.service': 'wcs-signalling', 'http.response.status_code': 101 });
    const { traceId, spanId } = span.spanContext();
    expect(wcs.sockets[0]?.handshake.headers['traceparent']).toBe(`00-${traceId}-${spanId}-01`);
    socket.terminate();
  });

  it('counts requests by route, service and status, open sockets and bytes', async () => {
    const auth = await startService();
    const { url, socketUrl } = await startEdge({
      WEIR_UPSTREAM_AUTH: auth.url,
      WEIR_UPSTREAM_WCS_SIGNALLING: auth.url,
      WEIR_UPSTREAM_RECORDING: 'http://127.0.0.1:9',
    });
    const ok = { 'http.route': '/auth/*', 'weir.service': 'auth', 'http.response.status_code': 200 };
    const before = Number((await measured('weir.gateway.requests', ok)) ?? 0);
    await fetch(`${url}/auth/`);
    await fetch(`${url}/auth/x`);
    await fetch(`${url}/api/v2/x`);
    await waitFor(async () => Number(await measured('weir.gateway.requests', ok)) === before + 2);
    await waitFor(
      async () =>
        (await measured('weir.gateway.requests', { 'http.route': '/api/v2/*', 'http.response.status_code': 503 })) ===
        1,
    );
    expect(await measured('http.server.request.duration', ok)).toMatchObject({ count: before + 2 });

    const socket = new WebSocket(socketUrl);
    await new Promise((resolve) => socket.once('open', resolve));
    expect(await openSockets()).toBe(1);
    const received = Number(await measured('weir.gateway.bytes', { direction: 'received' }));
    socket.send(Buffer.alloc(100_000));
    await waitFor(
      async () => Number(await measured('weir.gateway.bytes', { direction: 'received' })) >= received + 100_000,
    );
    socket.terminate();
    await waitFor(async () => (await openSockets()) === 0);
  });
});

const openSockets = () => measured('weir.gateway.sockets.open', {});
