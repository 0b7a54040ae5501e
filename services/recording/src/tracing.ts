import {
  context,
  propagation,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  type Attributes,
  type Context,
  type Link,
  type Span,
} from '@opentelemetry/api';
import type { RecordingState } from './recording-machine.js';
import type { RecordingRow } from './store.js';
import type { UploadResult } from './upload-file.js';

const tracer = trace.getTracer('@weir/recording');

const linkTo = (cause: Context): Link[] => {
  const spanContext = trace.getSpanContext(cause);
  return spanContext === undefined ? [] : [{ context: spanContext }];
};

/** Does one step of the present work, such as a recording's start, in a span of its own. */
export const inStep = <Result>(name: string, work: () => Promise<Result>): Promise<Result> =>
  tracer.startActiveSpan(`recording ${name}`, async (span) => {
    try {
      return await work();
    } catch (error) {
      span.setStatus({ code: SpanStatusCode.ERROR });
      throw error;
    } finally {
      span.end();
    }
  });

/**
 * The span of a recording as long as this instance works on it. It may last for days, so it is linked to the request
 * that asked for it instead of being a part of that.
 */
export class RecordingSpan {
  readonly #span: Span;
  readonly #context: Context;

  constructor({ id, tenant, streamName, epoch }: RecordingRow) {
    const attributes: Attributes = { 'weir.recording.id': id, 'weir.tenant': tenant, 'weir.stream.name': streamName };
    this.#span = tracer.startSpan(
      'recording',
      { attributes: { ...attributes, 'weir.recording.epoch': String(epoch) }, links: linkTo(context.active()) },
      ROOT_CONTEXT,
    );
    this.#context = trace.setSpan(ROOT_CONTEXT, this.#span);
  }

  run<Result>(work: () => Result): Result {
    return context.with(this.#context, work);
  }

  changed({ tag }: RecordingState): void {
    this.#span.addEvent(tag);
  }

  end({ container, reason, durationMs, sizeBytes }: RecordingRow, { tag }: RecordingState): void {
    this.#span.setAttributes({
      ...{ 'weir.recording.outcome': tag, 'weir.recording.reason': reason },
      ...(container !== null && { 'weir.recording.container': container }),
      ...(durationMs !== null && { 'weir.recording.duration_ms': durationMs }),
      ...(sizeBytes !== null && { 'weir.recording.size_bytes': Number(sizeBytes) }),
    });
    if (tag === 'failed') this.#span.setStatus({ code: SpanStatusCode.ERROR, message: reason });
    this.#span.end();
  }
}

/** The current span as a `traceparent` of W3C's Trace Context; undefined if there is none. */
export const traceParent = (): string | undefined => {
  const carrier: Record<string, string> = {};
  propagation.inject(context.active(), carrier);
  return carrier['traceparent'];
};

export interface DeliveryTrace {
  readonly recordingId: string;
  readonly kind: string;
  readonly sizeBytes: number;
  /** The destination's host, if it has one; the whole URL is a secret. */
  readonly host: string | undefined;
  readonly traceparent: string | undefined;
}

/** One attempt to deliver a file, linked to the recording. */
export const inDeliverySpan = async (
  { recordingId, kind, sizeBytes, host, traceparent }: DeliveryTrace,
  work: () => Promise<UploadResult>,
): Promise<UploadResult> => {
  const cause = propagation.extract(ROOT_CONTEXT, { traceparent });
  const attributes: Attributes = {
    ...{ 'weir.recording.id': recordingId, 'weir.delivery.kind': kind, 'weir.delivery.size_bytes': sizeBytes },
    ...(host !== undefined && { 'server.address': host }),
  };
  const span = tracer.startSpan(
    'recording delivery',
    { kind: SpanKind.CLIENT, attributes, links: linkTo(cause) },
    ROOT_CONTEXT,
  );
  try {
    const result = await context.with(trace.setSpan(ROOT_CONTEXT, span), work);
    span.setAttribute('weir.delivery.result', result.tag);
    if (result.status !== undefined) span.setAttribute('http.response.status_code', result.status);
    if (result.tag !== 'uploaded') span.setStatus({ code: SpanStatusCode.ERROR, message: result.words });
    return result;
  } catch (error) {
    span.setStatus({ code: SpanStatusCode.ERROR });
    throw error;
  } finally {
    span.end();
  }
};
