import { metrics as metricsApi } from '@opentelemetry/api';
import { metrics } from '@opentelemetry/sdk-node';
import { expect, it } from 'vitest';
import { OutboxMetrics } from './metrics.js';

it('tells how many messages wait or are dead, and how old the oldest waiting one is', async () => {
  const points = new metrics.InMemoryMetricExporter(metrics.AggregationTemporality.CUMULATIVE);
  const reader = new metrics.PeriodicExportingMetricReader({ exporter: points, exportIntervalMillis: 3_600_000 });
  metricsApi.setGlobalMeterProvider(new metrics.MeterProvider({ readers: [reader] }));
  new OutboxMetrics().observe(() => [
    { queue: 'upload', state: 'waiting', count: 2, oldestS: 90 },
    { queue: 'upload', state: 'dead', count: 1, oldestS: 7_200 },
  ]);
  await reader.forceFlush();
  const told = (points.getMetrics()[0]?.scopeMetrics ?? []).flatMap((scope) =>
    scope.metrics.flatMap(({ descriptor, dataPoints }) =>
      dataPoints.map(({ attributes, value }) => [descriptor.name, attributes, value]),
    ),
  );
  expect(told).toEqual([
    ['weir.outbox.messages', { queue: 'upload', state: 'waiting' }, 2],
    ['weir.outbox.messages', { queue: 'upload', state: 'dead' }, 1],
    ['weir.outbox.oldest', { queue: 'upload' }, 90],
  ]);
  await reader.shutdown();
});
