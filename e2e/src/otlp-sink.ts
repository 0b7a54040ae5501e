import { z } from 'zod';
import { serveOnLoopback, type LoopbackServer } from './loopback-server.js';

const resource = z.object({
  resource: z.object({
    attributes: z.array(z.object({ key: z.string(), value: z.looseObject({ stringValue: z.string().optional() }) })),
  }),
});
const traces = z.object({
  resourceSpans: z.array(
    resource.extend({
      scopeSpans: z.array(
        z.object({
          spans: z.array(z.object({ traceId: z.string(), name: z.string() })),
        }),
      ),
    }),
  ),
});
const metrics = z.object({
  resourceMetrics: z.array(
    resource.extend({ scopeMetrics: z.array(z.object({ metrics: z.array(z.object({ name: z.string() })) })) }),
  ),
});

export interface Span {
  service: string;
  traceId: string;
  name: string;
}

/** Receives what the services export by OTLP (HTTP, JSON); `GET /seen/spans|metrics` returns what it has seen. */
export async function startOtlpSink(): Promise<LoopbackServer> {
  const spans: Span[] = [];
  const names = new Set<string>();
  const take = (path: string, body: unknown) => {
    if (path === '/v1/traces')
      for (const { resource: from, scopeSpans } of traces.parse(body).resourceSpans) {
        const service = from.attributes.find(({ key }) => key === 'service.name')?.value.stringValue ?? '';
        for (const { spans: told } of scopeSpans)
          for (const { traceId, name } of told) spans.push({ service, traceId, name });
      }
    if (path === '/v1/metrics')
      for (const { scopeMetrics } of metrics.parse(body).resourceMetrics)
        for (const scope of scopeMetrics) for (const { name } of scope.metrics) names.add(name);
  };
  return serveOnLoopback((request, response) => {
    let text = '';
    request.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    request.on('end', () => {
      response.setHeader('content-type', 'application/json');
      if (request.method === 'POST') take(request.url ?? '', JSON.parse(text));
      response.end(JSON.stringify(request.url === '/seen/spans' ? spans : [...names]));
    });
  });
}
