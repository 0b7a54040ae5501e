import { NodeSDK, tracing } from '@opentelemetry/sdk-node';
import { waitFor } from '@weir/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { H264 } from './testing/fake-media.js';
import { Player } from './testing/player.js';
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

describe('POST /stream/', () => {
  it("belongs to the gateway's trace, with the calls that it causes", async () => {
    await around.media.publish('traced', { video: H264 });
    const player = new Player(service.url, { authorization: `Bearer ${await around.auth.token()}` });
    const traceId = '0af7651916cd43dd8448eb211c80319c';
    await player.get('/stream/', {
      method: 'POST',
      headers: { 'content-type': 'application/json', traceparent: `00-${traceId}-b7ad6b7169203331-01` },
      body: JSON.stringify({ stream: 'traced' }),
    });
    const spans = await waitFor(() => {
      const finished = exporter.getFinishedSpans().filter((span) => span.spanContext().traceId === traceId);
      return finished.some(({ name }) => name === 'hls start') && finished;
    });
    expect(spans.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['weir.v1.Media.FindStreams', 'weir.v1.MediaRtp.Tap', 'hls start']),
    );
  });
});
