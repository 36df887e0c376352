export interface TracingOptions {
  readonly service: string;
  readonly version: string;
  readonly endpoint: string;
}

/**
 * Exports spans over OTLP/HTTP to `endpoint` (a collector's origin or its /v1/traces). Spans are batched and sent off the
 * request path; a collector that is away costs dropped spans, never a request. Without it the API is a no-op, and the SDK, which
 * costs every thread a third of a second and 30 MB, is not loaded.
 */
export function startTracing(options: TracingOptions): () => Promise<void> {
  const starting = import('./tracing-sdk.ts').then(({ startSdk }) => startSdk(options));
  starting.catch(() => {}); // told where it is stopped: tracing that cannot start must not end an app
  return async () => await (await starting)();
}
