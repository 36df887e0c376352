import type { Span } from '@opentelemetry/api';
import type { route, tenancy } from '#libs/contracts';
import type { Charge } from '../quota/index.ts';
import type { Target } from './endpoints.ts';
import type { Refusal } from './errors.ts';
import type { HttpRequest, HttpResponse } from './http/types.ts';
import type { Once } from './once.ts';
import type { Lead } from './targets/lead.ts';
import type { Account } from './record.ts';

/** The client's side of a request, as its tries see it. */
export interface Asker {
  readonly requestId: string;
  readonly account: Account;
  readonly request: HttpRequest;
  readonly response: HttpResponse;
  readonly target: Target;
  readonly span: Span | undefined;
  readonly charge: Charge | undefined;
  /** Undefined where nobody checks keys. */
  readonly key: tenancy.KeyIssued | undefined;
  /** Whole, until it is released. */
  readonly body: Buffer;
  readonly startMs: number;
  /** When the client waits no longer. */
  readonly expiresMs: number;
  /** Undefined where the answer need not be kept. */
  readonly once: Once | undefined;
  /** Undefined where the name asked for is that of the model served. */
  readonly lead: Lead | undefined;
  /** Since `startMs`. */
  readonly elapsedMs: number;
  /** Nothing more may be written. */
  readonly closed: boolean;
  /** When the sweep calls. */
  deadlineMs: number;
  nowMs(): number;
  releaseBody(): void;
  /** Says how the request ends; the first word counts. */
  settle(outcome: route.Outcome, code: string, message: string): void;
  refuse(refusal: Refusal): false;
  fault(thrown: unknown): void;
  awaitEnd(): void;
}
