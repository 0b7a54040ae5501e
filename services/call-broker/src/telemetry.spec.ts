import { metrics, NodeSDK, tracing } from '@opentelemetry/sdk-node';
import { waitFor } from '@weir/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Broker, startSurroundings, type Surroundings } from './testing/broker.js';
import { APP, TestDevice, tokenOf } from './testing/device.js';

const spans = new tracing.InMemorySpanExporter();
const points = new metrics.InMemoryMetricExporter(metrics.AggregationTemporality.CUMULATIVE);
const reader = new metrics.PeriodicExportingMetricReader({ exporter: points, exportIntervalMillis: 3_600_000 });
const sdk = new NodeSDK({
  autoDetectResources: false,
  instrumentations: [],
  spanProcessors: [new tracing.SimpleSpanProcessor(spans)],
  metricReaders: [reader],
});
const CID = 4_242;

let around: Surroundings;
let broker: Broker;

beforeAll(async () => {
  sdk.start();
  around = await startSurroundings();
  broker = await Broker.start(around.env);
  await broker.service.apps.create(APP);
}, 60_000);

afterAll(async () => {
  await broker.stop();
  await around.stop();
  await sdk.shutdown();
});

/** The points of a metric by the text of their attributes. */
const metric = async (name: string): Promise<Record<string, unknown>> => {
  await reader.forceFlush();
  const found = points
    .getMetrics()
    .at(-1)
    ?.scopeMetrics.flatMap((scope) => scope.metrics)
    .find(({ descriptor }) => descriptor.name === name);
  return Object.fromEntries(
    (found?.dataPoints ?? []).map(({ attributes, value }) => [Object.values(attributes).join(), value]),
  );
};

it('metrics show devices, messages and pictures; a call is a span of the trace that the gateway has begun', async () => {
  const device = await TestDevice.open(broker.url, CID);
  await waitFor(async () => (await metric('weir.calls.devices'))[''] === 1, { what: 'the device' });
  const headers = {
    ...{ 'x-app-id': APP.id, 'x-app-key': APP.key },
    traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
  };
  const push = (flag: number) =>
    broker.request('POST', '/v2/message/server/push', {
      headers,
      body: { proxy: 0, payload: { msg: 'aGk=', flag, clients: [CID, CID + 1] } },
    });
  await push(2);
  await push(3);
  await push(3);
  expect(await metric('weir.calls.messages')).toEqual({ 'acknowledged,accepted': 2, 'once,accepted': 4 });
  await broker.request('GET', `/v2/snapshots/${CID}/cover?client_token=${tokenOf(CID)}`);
  expect(await metric('weir.calls.snapshots')).toEqual({ missing: 1 });
  const pushed = spans.getFinishedSpans().filter(({ name }) => name === 'call web api serverPush');
  expect(pushed.map((span) => span.spanContext().traceId)).toEqual(Array(3).fill('a'.repeat(32)));
  expect(JSON.stringify(spans.getFinishedSpans().map(({ attributes }) => attributes))).not.toContain(tokenOf(CID));
  device.end();
});
