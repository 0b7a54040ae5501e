import {
  context,
  metrics,
  propagation,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  type Context,
  type Span,
} from '@opentelemetry/api';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { Traffic } from './connection-book.js';

/** A request in progress: its span, which becomes the parent of the service's span. */
export interface RequestTrace {
  /** Ends the span and counts the request; only the first call does anything. */
  end(statusCode: number): void;
  /** Writes the trace context into the headers for the service. */
  inject(headers: IncomingHttpHeaders): IncomingHttpHeaders;
  /** Names the route and the service once they are known. */
  route(route: string, service: string): void;
}

/** Spans and metrics of the gateway. Without a registered OpenTelemetry SDK they do nothing. */
export class EdgeTelemetry {
  readonly #tracer = trace.getTracer('weir.gateway');
  readonly #meter = metrics.getMeter('weir.gateway');
  readonly #requests = this.#meter.createCounter('weir.gateway.requests', {
    description: 'Requests and WebSocket handshakes by route, service and status.',
  });
  readonly #durations = this.#meter.createHistogram('http.server.request.duration', {
    unit: 's',
    description: 'Time from the end of the request headers to the end of the answer.',
    advice: { explicitBucketBoundaries: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] },
  });

  /** Begins the span of a request; a valid `traceparent` of the client becomes its parent. */
  begin(request: IncomingMessage, attributes: { requestId: string; clientAddress: string }): RequestTrace {
    const parent = propagation.extract(ROOT_CONTEXT, request.headers);
    const method = request.method ?? 'GET';
    const startedAtMs = performance.now();
    const span = this.#tracer.startSpan(
      method,
      {
        kind: SpanKind.SERVER,
        attributes: {
          'http.request.method': method,
          'url.path': pathOf(request.url),
          'client.address': attributes.clientAddress,
          'weir.request.id': attributes.requestId,
        },
      },
      parent,
    );
    return new OpenRequest(span, trace.setSpan(parent, span), (labels, statusCode) => {
      const all = { ...labels, 'http.request.method': method, 'http.response.status_code': statusCode };
      this.#requests.add(1, all);
      this.#durations.record((performance.now() - startedAtMs) / 1_000, all);
    });
  }

  /** Registers gauges and counters that read these sources whenever metrics are collected. */
  observe(sources: {
    openSockets: () => number;
    heldBytes: () => number;
    heldBodyBytes: () => number;
    openConnections: () => number;
    bytes: () => Traffic;
  }): void {
    this.#meter
      .createObservableUpDownCounter('weir.gateway.sockets.open', { description: 'WebSockets passing through.' })
      .addCallback((result) => result.observe(sources.openSockets()));
    this.#meter
      .createObservableGauge('weir.gateway.sockets.held', {
        unit: 'By',
        description: 'Bytes that one side of a WebSocket has sent and the other has not yet received.',
      })
      .addCallback((result) => result.observe(sources.heldBytes()));
    this.#meter
      .createObservableGauge('weir.gateway.bodies.held', {
        unit: 'By',
        description: 'Bytes of request bodies that are being received or wait for the answer.',
      })
      .addCallback((result) => result.observe(sources.heldBodyBytes()));
    this.#meter
      .createObservableUpDownCounter('weir.gateway.connections.open', { description: "Clients' open connections." })
      .addCallback((result) => result.observe(sources.openConnections()));
    this.#meter
      .createObservableCounter('weir.gateway.bytes', { unit: 'By', description: 'Bytes from and to clients.' })
      .addCallback((result) => {
        const { receivedBytes, sentBytes } = sources.bytes();
        result.observe(receivedBytes, { direction: 'received' });
        result.observe(sentBytes, { direction: 'sent' });
      });
  }
}

class OpenRequest implements RequestTrace {
  #labels: Record<string, string> = {};
  #ended = false;

  constructor(
    private readonly span: Span,
    private readonly spanContext: Context,
    private readonly count: (labels: Record<string, string>, statusCode: number) => void,
  ) {}

  route(route: string, service: string): void {
    this.#labels = { 'http.route': route, 'weir.service': service };
    this.span.setAttributes(this.#labels);
  }

  inject(headers: IncomingHttpHeaders): IncomingHttpHeaders {
    propagation.inject(this.spanContext, headers);
    return headers;
  }

  end(statusCode: number): void {
    if (this.#ended) return;
    this.#ended = true;
    this.span.setAttribute('http.response.status_code', statusCode);
    if (statusCode >= 500) this.span.setStatus({ code: SpanStatusCode.ERROR });
    this.span.end();
    context.with(this.spanContext, () => this.count(this.#labels, statusCode));
  }
}

const pathOf = (url = '/'): string => url.split('?', 1)[0] ?? '/';
