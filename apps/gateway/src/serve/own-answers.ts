import { route } from '#libs/contracts';
import type { Asker } from './asker.ts';
import type { Attempt } from './attempt.ts';
import { outcomeOf } from './attempt.ts';
import type { Answer } from './answer.ts';
import type { Dialect } from './endpoints.ts';
import type { Refusal } from './errors.ts';
import { anthropicErrorBody, errorBody } from './errors.ts';
import type { HttpRequest } from './http/types.ts';
import type { KeptAnswer } from './idempotency.ts';
import { answerBegun } from './pd/handover.ts';
import type { Plane } from './plane.ts';
import type { Routed } from './routing.ts';
import { appendOwnHeaders } from './routing.ts';

const { Outcome } = route;

const unreadBytesMax = 256 * 1024;

/** A body is still to come that is not worth reading for the sake of its connection. */
export function longUnread({ complete, headers }: HttpRequest): boolean {
  if (complete) return false;
  const length = headers['content-length'];
  return length === undefined ? headers['transfer-encoding'] !== undefined : Number(length) > unreadBytesMax;
}

/** What a refusal says beside its body. */
export function refusalHeaders({ status, marker, retryAfterS, allow }: Refusal): string[] {
  const headers: string[] = [];
  if (marker !== undefined) headers.push(marker[0], marker[1]);
  if (retryAfterS !== undefined) headers.push('retry-after', String(retryAfterS));
  if (allow !== undefined) headers.push('allow', allow);
  if (status === 401) headers.push('www-authenticate', 'Bearer');
  return headers;
}

/** In the shape that clients of its endpoint read. */
export const refusalBody = ({ status, code, message, param }: Refusal, dialect: Dialect, requestId: string): string =>
  dialect === 'anthropic'
    ? anthropicErrorBody(status, message, requestId)
    : errorBody(status, code, message, param ?? null);

/** The answer to the same request before. */
export function giveKept(plane: Plane, asker: Asker, { status, headers, body }: KeptAnswer): void {
  const ok = status < 400;
  asker.settle(
    ok ? Outcome.COMPLETED : Outcome.UPSTREAM_ERROR,
    ok ? '' : 'upstream_error',
    ok ? '' : `Kept: ${status}.`,
  );
  asker.account.httpStatus = status;
  const out = ['idempotent-replayed', 'true', 'content-length', String(body.length)];
  for (let index = 0; index + 1 < headers.length; index += 2) {
    const name = headers[index] as string;
    if (name.toLowerCase() !== 'content-length') out.push(name, headers[index + 1] as string);
  }
  appendOwnHeaders(out, asker.requestId, undefined, undefined, asker.account.outcome);
  plane.edge.cors?.append(out, asker.request);
  asker.awaitEnd();
  asker.response.writeHead(status, out);
  asker.response.end(body);
}

/** What we say beside an engine's answer, behind its own headers. `whole`: it is known how it ends. */
export function appendAnswerHeaders(
  plane: Plane,
  asker: Asker,
  where: Routed,
  attempt: Attempt,
  { status, headers }: Answer,
  whole: boolean,
): void {
  const outcome = whole ? outcomeOf(status) : Outcome.UNSPECIFIED;
  appendOwnHeaders(headers, asker.requestId, where, attempt.replica, outcome);
  if (plane.compat && status >= 400) headers.push('x-error-response-unknown', 'true');
  if (where.splittable === true) answerBegun(where, attempt, headers, attempt.firstByteMs);
  asker.charge?.appendHeaders(headers);
  plane.edge.cors?.append(headers, asker.request);
}
