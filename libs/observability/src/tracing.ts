import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { NodeSDK } from '@opentelemetry/sdk-node';
import { ATTR_SERVICE_NAME, ATTR_SERVICE_VERSION } from '@opentelemetry/semantic-conventions';

/**
 * Exports spans over OTLP/HTTP to `endpoint` (a collector's origin or its /v1/traces). Spans are batched and sent off the
 * request path; a collector that is away costs dropped spans, never a request. Without it the API is a no-op.
 */
export function startTracing(options: { service: string; version: string; endpoint: string }): () => Promise<void> {
  const url = options.endpoint.endsWith('/v1/traces') ? options.endpoint : new URL('/v1/traces', options.endpoint).href;
  const sdk = new NodeSDK({
    resource: resourceFromAttributes({ [ATTR_SERVICE_NAME]: options.service, [ATTR_SERVICE_VERSION]: options.version }),
    traceExporter: new OTLPTraceExporter({ url }),
    instrumentations: [],
  });
  sdk.start();
  return () => sdk.shutdown();
}
