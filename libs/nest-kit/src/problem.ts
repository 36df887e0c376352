import { CodedError, errorText } from '#libs/kernel';
import type { ArgumentsHost, ExceptionFilter } from '@nestjs/common';
import { Catch, HttpException } from '@nestjs/common';
import type { FastifyReply } from 'fastify';

/** RFC 9457. `code` is Lintel's stable code; `advice` says what to do. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: string;
  readonly advice?: string;
}

const statusByEnding: readonly (readonly [RegExp, number])[] = [
  [/_NOT_FOUND$/, 404],
  [/_UNAUTHORIZED$/, 401],
  [/_(UNAVAILABLE|NOT_READY|TIMEOUT|BEHIND)$|^BUS_(NO_RESPONDER|DEADLINE)$/, 503],
  [/_(CONFLICT|EXISTS|TAKEN|TOO_MANY)$/, 409],
  [/_LIMITED$/, 429],
  [/_TOO_LARGE$/, 413],
  [/_FORBIDDEN$/, 403],
  [/_(INVALID|UNKNOWN|BAD_REQUEST)$|^BAD_REQUEST$/, 400],
];

/** Status of a coded error by the ending of its code: `*_NOT_FOUND` 404, `*_UNAVAILABLE` 503 and so on; else 500. */
export function statusOf(code: string): number {
  return statusByEnding.find(([ending]) => ending.test(code))?.[1] ?? 500;
}

export function toProblem(thrown: unknown): Problem {
  if (thrown instanceof CodedError) {
    const status = statusOf(thrown.code);
    const base = {
      type: `urn:lintel:${thrown.code}`,
      title: thrown.code,
      status,
      detail: thrown.message,
      code: thrown.code,
    };
    return thrown.advice === undefined ? base : { ...base, advice: thrown.advice };
  }
  const status = thrown instanceof HttpException ? thrown.getStatus() : 500;
  const code = status === 404 ? 'ROUTE_NOT_FOUND' : status < 500 ? 'BAD_REQUEST' : 'INTERNAL';
  return { type: `urn:lintel:${code}`, title: code, status, detail: errorText(thrown), code };
}

/** Answers every error of an admin or query route as application/problem+json. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  catch(thrown: unknown, host: ArgumentsHost): void {
    const problem = toProblem(thrown);
    const reply = host.switchToHttp().getResponse<FastifyReply>();
    if (reply.sent || reply.raw.headersSent) {
      reply.raw.destroy();
      return;
    }
    void reply.status(problem.status).header('content-type', 'application/problem+json').send(problem);
  }
}
