import { context, trace } from '@opentelemetry/api';
import { metrics, NodeSDK, tracing } from '@opentelemetry/sdk-node';
import { Bus } from '@weir/bus';
import { StreamRecordings } from '@weir/contracts';
import { waitFor } from '@weir/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { MediaNode } from './testing/media-node.js';
import { PutReceiver } from './testing/put-receiver.js';
import { Recorder, startSurroundings, type Surroundings } from './testing/recorder.js';

const spans = new tracing.InMemorySpanExporter();
const points = new metrics.InMemoryMetricExporter(metrics.AggregationTemporality.CUMULATIVE);
const reader = new metrics.PeriodicExportingMetricReader({ exporter: points, exportIntervalMillis: 3_600_000 });
const sdk = new NodeSDK({
  autoDetectResources: false,
  instrumentations: [],
  spanProcessors: [new tracing.SimpleSpanProcessor(spans)],
  metricReaders: [reader],
});

let around: Surroundings;
let media: MediaNode;
let recorder: Recorder;
let receiver: PutReceiver;
let caller: Bus;

beforeAll(async () => {
  sdk.start();
  around = await startSurroundings();
  receiver = await PutReceiver.open();
  media = await MediaNode.start(around.nats.url);
  recorder = await Recorder.start(around.env);
  caller = await Bus.connect({ url: around.nats.url, service: 'wcs-signalling', instanceId: 'caller' });
}, 60_000);

afterAll(async () => {
  await caller.drain();
  await recorder.stop();
  await media.stop();
  await receiver.close();
  await around.stop();
  await sdk.shutdown();
});

const spanOf = (name: string, recordingId: string) =>
  waitFor(
    () =>
      spans
        .getFinishedSpans()
        .find((span) => span.name === name && span.attributes['weir.recording.id'] === recordingId),
    { what: `the span ${name} of ${recordingId}` },
  );

const recordedBytes = (id: string) =>
  waitFor(() => (recorder.recording.recordings.progressOf(id)?.sizeBytes ?? 0) > 20_000, {
    ...{ what: `bytes of ${id}`, timeoutMs: 20_000 },
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
    (found?.dataPoints ?? []).map(({ attributes, value }) => [Object.values(attributes), value]),
  );
};

it('a recording is a span that is linked to the request for it and contains what the recording does', async () => {
  media.publish('door');
  const request = trace.getTracer('spec').startSpan('a frame');
  const { recording } = await context.with(trace.setSpan(context.active(), request), () =>
    caller.call(StreamRecordings.method.start, { tenant: 'house', streamName: 'door', key: 'k', name: '' }),
  );
  request.end();
  const id = recording?.recordingId ?? '';
  await recordedBytes(id);
  await caller.call(StreamRecordings.method.stop, { tenant: 'house', key: 'k' });
  const span = await spanOf('recording', id);
  expect(span.attributes).toMatchObject({
    'weir.tenant': 'house',
    'weir.stream.name': 'door',
    'weir.recording.container': 'webm',
    'weir.recording.outcome': 'finished',
    'weir.recording.reason': 'stopped',
    'weir.recording.duration_ms': expect.any(Number) as number,
    'weir.recording.size_bytes': expect.any(Number) as number,
  });
  expect(span.events.map(({ name }) => name)).toEqual(['opening', 'recording', 'closing', 'finishing', 'finished']);
  expect(span.parentSpanContext).toBeUndefined();
  expect(span.links.map((link) => link.context.traceId)).toEqual([request.spanContext().traceId]);
  const own = spans.getFinishedSpans().filter((one) => one.spanContext().traceId === span.spanContext().traceId);
  const names = ['weir.v1.MediaRtp.Tap', 'recording part', 'recording tap', 'recording file', 'recording'];
  expect(own.map(({ name }) => name)).toEqual(expect.arrayContaining(names));
});

it('a delivery is a span that is linked to its recording, without the secret URL', async () => {
  media.publish('gate');
  const url = receiver.url('/a-secret');
  const started = await recorder.request('POST', '/recordings', {
    body: { stream: 'gate', destination: { kind: 'put', url } },
  });
  const { id } = started.body;
  await recordedBytes(id);
  await recorder.request('POST', `/recordings/${id}/stop`);
  const delivery = await spanOf('recording delivery', id);
  expect(delivery.attributes).toMatchObject({
    'weir.delivery.kind': 'put',
    'weir.delivery.result': 'uploaded',
    'weir.delivery.size_bytes': receiver.stored.get('/a-secret')?.body.length,
    'http.response.status_code': 200,
    'server.address': '127.0.0.1',
  });
  const recording = await spanOf('recording', id);
  expect(delivery.links.map((link) => link.context.spanId)).toEqual([recording.spanContext().spanId]);
  expect(JSON.stringify([delivery.attributes, delivery.events])).not.toContain('secret');
});

it('metrics show the recordings by state, their bytes, what is at risk, and how they and their deliveries ended', async () => {
  media.publish('yard');
  const { body } = await recorder.request('POST', '/recordings', {
    body: { stream: 'yard', destination: { kind: 'put', url: receiver.url('/yard') } },
  });
  await recordedBytes(body.id);
  expect(await metric('weir.recording.recordings')).toMatchObject({ recording: 1, waiting: 0, unfinished: 0 });
  expect((await metric('weir.recording.bytes'))['']).toBeGreaterThan(20_000);
  const atRiskS = (await metric('weir.recording.at_risk'))[''];
  expect(atRiskS).toBeGreaterThan(0);
  await recorder.request('POST', `/recordings/${body.id}/stop`);
  await waitFor(() => receiver.stored.has('/yard'), { what: 'the file', timeoutMs: 20_000 });
  await waitFor(async () => (await metric('weir.recording.recordings'))['recording'] === 0, { what: 'its end' });
  expect((await metric('weir.recording.ends'))['finished']).toBeGreaterThanOrEqual(1);
  expect(Object.keys(await metric('weir.recording.delivery.duration'))).toContain('put,delivered');
}, 60_000);
