import {
  type Attributes,
  type Context,
  type Span,
  SpanKind,
  SpanStatusCode,
  context as contexts,
  metrics,
  trace,
} from '@opentelemetry/api';
import { isWeirError } from '@weir/contracts';
import { codeName } from './wire.js';

const SCOPE = '@weir/bus';

export const spanKinds = {
  client: SpanKind.CLIENT,
  server: SpanKind.SERVER,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
} as const;

/** The attributes of a method such as `weir.v1.Media.Publish`, by OpenTelemetry's conventions for remote calls. */
function attributesOf(name: string): Attributes {
  const dot = name.lastIndexOf('.');
  return {
    'rpc.system': 'weir',
    'rpc.service': name.slice(0, dot),
    'rpc.method': name.slice(dot + 1),
    'messaging.system': 'nats',
  };
}

/** Runs the work in a span that ends with it and is marked as failed if it throws. */
export function inSpan<Result>(
  name: string,
  kind: keyof typeof spanKinds,
  parent: Context,
  work: (span: Span) => Result,
): Result {
  const span = trace
    .getTracer(SCOPE)
    .startSpan(name, { kind: spanKinds[kind], attributes: attributesOf(name) }, parent);
  const fail = (error: unknown): never => {
    span.setStatus({ code: SpanStatusCode.ERROR, message: outcomeOf(error) });
    if (error instanceof Error) span.recordException(error);
    span.end();
    throw error;
  };
  let result: Result;
  try {
    result = contexts.with(trace.setSpan(parent, span), () => work(span));
  } catch (error) {
    return fail(error);
  }
  if (result instanceof Promise) return result.then(ended(span), fail) as Result;
  span.end();
  return result;
}

const ended =
  (span: Span) =>
  <Value>(value: Value): Value => {
    span.end();
    return value;
  };

/** `ok` or the error's code in lower case. */
export const outcomeOf = (error: unknown): string =>
  isWeirError(error) ? codeName(error.code).toLowerCase() : 'internal';

export interface CallTimer {
  /** @param outcome `ok` or a code in lower case */
  record(method: string, outcome: string, durationMs: number): void;
}

/** Measures from call to reply at the caller. Created when a bus connects, because telemetry is set up by then. */
export function callTimer(): CallTimer {
  const histogram = metrics.getMeter(SCOPE).createHistogram('weir.bus.call.duration', {
    description: 'Time from a call over the bus to its reply or error',
    unit: 's',
    advice: {
      explicitBucketBoundaries: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    },
  });
  return { record: (method, outcome, durationMs) => histogram.record(durationMs / 1_000, { method, outcome }) };
}
