import type { Span } from '@opentelemetry/api';
import type { SseScanner } from './body/sse-scanner.ts';
import type { Endpoint } from './endpoints.ts';
import type { Plane } from './plane.ts';
import type { Account } from './record.ts';

export interface Ended {
  readonly requestId: string;
  readonly receivedAtMs: number;
  readonly endpoint: Endpoint;
  /** The model is one in service: only such names become labels. */
  readonly modelKnown: boolean;
  readonly span: Span | undefined;
  readonly sse: SseScanner | undefined;
}

/** What is told of a request after its end: metrics, span, record. */
export function closeBooks(plane: Plane, account: Account, ended: Ended): void {
  const { requestId, receivedAtMs, endpoint, span, sse } = ended;
  plane.metrics.observe({
    model: ended.modelKnown ? account.model : '',
    endpoint: endpoint.path,
    status: account.httpStatus,
    outcome: account.outcome,
    ttftMs: sse === undefined ? account.firstByteMs : sse.firstTokenMs,
    tpotMs: account.tokenGaps === 0 ? undefined : account.tokenSpanMs / account.tokenGaps,
    totalMs: account.totalMs,
    pickUs: account.pickUs,
    promptTokens: account.usage?.promptTokens ?? 0,
    completionTokens: account.usage?.completionTokens ?? 0,
    cachedTokens: account.usage?.cachedTokens ?? 0,
  });
  if (plane.record === undefined && span === undefined) return;
  const record = account.toRecord(requestId, receivedAtMs, endpoint.path);
  if (span !== undefined) plane.tracing.end(span, endpoint.operation, record, { tokens: sse?.tokenEvents ?? 0 });
  plane.record?.(record);
}
