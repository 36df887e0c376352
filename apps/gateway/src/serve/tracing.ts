import type { Span, Tracer } from '@opentelemetry/api';
import { context, ProxyTracerProvider, propagation, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import type { RecordedAttempt, RecordInput } from '#libs/recording';

const tracerName = 'lintel-gateway';

/** W3C: version, trace id, parent id, flags. */
const w3c = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}/;

/** The client's traceparent if it is one. */
export const soundTraceparent = (value: string | undefined): string =>
  value !== undefined && w3c.test(value) ? value.slice(0, 55) : '';

/** Spans by the GenAI semantic conventions, made only where somebody set a provider of traces. */
export class ServeTracing {
  #tracer: Tracer | undefined;

  /** Starts the span of a request, or nothing where nobody collects. */
  start(operation: string, traceparent: string): Span | undefined {
    const tracer = (this.#tracer ??= delegate());
    if (tracer === undefined) return undefined;
    const carrier: Record<string, string> = traceparent === '' ? {} : { traceparent };
    const parent = propagation.extract(context.active(), carrier);
    const span = tracer.startSpan(operation, { kind: SpanKind.SERVER }, parent);
    if (span.isRecording()) return span;
    // Not sampled: its context must still go on to the engine.
    return span;
  }

  /** What the engine gets as its parent. */
  traceparentOf(span: Span): string {
    const { traceId, spanId, traceFlags } = span.spanContext();
    return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`;
  }

  /** Everything at once, after the last byte. */
  end(span: Span, operation: string, record: RecordInput, spans: { readonly tokens: number }): void {
    if (!span.isRecording()) {
      span.end();
      return;
    }
    span.updateName(record.model === '' ? operation : `${operation} ${record.model}`);
    span.setAttributes({
      'gen_ai.operation.name': operation,
      'gen_ai.request.model': record.model,
      'gen_ai.request.stream': record.stream,
      'http.route': record.endpoint,
      'http.response.status_code': record.httpStatus,
      'lintel.request.id': record.requestId,
      'lintel.tenant.id': record.tenantId,
      'lintel.outcome': record.outcome,
      'lintel.token_events': spans.tokens,
    });
    const { usage, features, timings } = record;
    if (usage !== undefined) {
      span.setAttribute('gen_ai.usage.input_tokens', usage.promptTokens);
      span.setAttribute('gen_ai.usage.output_tokens', usage.completionTokens);
      span.setAttribute('gen_ai.usage.cache_read.input_tokens', usage.cachedTokens);
    }
    if (features !== undefined && features.maxTokens > 0)
      span.setAttribute('gen_ai.request.max_tokens', features.maxTokens);
    if (timings !== undefined && timings.firstByteMs > 0) {
      span.setAttribute('gen_ai.response.time_to_first_chunk', timings.firstByteMs / 1000);
    }
    for (const attempt of record.attempts) span.addEvent('lintel.attempt', attemptAttributes(attempt));
    if (record.httpStatus >= 500 || record.errorCode !== '') {
      span.setAttribute('error.type', record.errorCode === '' ? String(record.httpStatus) : record.errorCode);
      span.setStatus({ code: SpanStatusCode.ERROR, message: record.errorMessage });
    }
    span.end();
  }
}

const attemptAttributes = (attempt: RecordedAttempt): Record<string, string | number> => ({
  'lintel.replica.id': attempt.replicaId,
  'lintel.attempt.end': attempt.end,
  'lintel.attempt.start_ms': attempt.startMs,
  'lintel.attempt.end_ms': attempt.endMs,
  'http.response.status_code': attempt.httpStatus,
});

function delegate(): Tracer | undefined {
  const provider = trace.getTracerProvider();
  return provider instanceof ProxyTracerProvider
    ? provider.getDelegateTracer(tracerName)
    : provider.getTracer(tracerName);
}
