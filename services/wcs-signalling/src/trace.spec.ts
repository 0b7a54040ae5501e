import { NodeSDK, tracing } from '@opentelemetry/sdk-node';
import { waitFor } from '@weir/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Client } from './testing/client.js';
import { startService, startSurroundings, type Running, type Surroundings } from './testing/service.js';

const exporter = new tracing.InMemorySpanExporter();
const sdk = new NodeSDK({
  autoDetectResources: false,
  instrumentations: [],
  spanProcessors: [new tracing.SimpleSpanProcessor(exporter)],
});

let around: Surroundings;
let service: Running;

beforeAll(async () => {
  sdk.start();
  around = await startSurroundings();
  service = await startService(around);
});
afterAll(async () => {
  await service.stop();
  await around.stop();
  await sdk.shutdown();
});

describe("a client's frame", () => {
  it('is the root of the trace of everything that it causes, on the bus and behind it', async () => {
    const client = await Client.connect(service.wsUrl);
    await client.publishes('p', 'traced');
    await client.plays('v', 'traced');
    const spans = await waitFor(() => {
      const finished = exporter.getFinishedSpans();
      return finished.some(({ name }) => name === 'wcs playStream') && finished;
    });
    const tree = (root: string) => {
      const traceId = spans.find(({ name }) => name === root)?.spanContext().traceId;
      return spans.filter((span) => span.spanContext().traceId === traceId).map(({ name }) => name);
    };
    expect(tree('wcs connection')).toEqual(expect.arrayContaining(['weir.v1.Auth.GetApplication']));
    expect(tree('wcs publishStream').filter((name) => name === 'weir.v1.Media.Publish')).toHaveLength(2);
    expect(tree('wcs playStream')).toEqual(expect.arrayContaining(['weir.v1.Media.FindStreams', 'weir.v1.Media.Play']));
    expect(spans.filter(({ name }) => name.startsWith('wcs ')).every((span) => !span.parentSpanContext)).toBe(true);
    // A message that asks no other service gets no span.
    client.says('ping');
    await client.hears('pong');
    expect(exporter.getFinishedSpans().map(({ name }) => name)).not.toContain('wcs ping');
    client.end();
  });
});
