import { route } from '#libs/contracts';
import { aibrixUserOf, usesDefaultTokens } from '#libs/domain/tenancy';
import type { Answer } from '../answer.ts';
import type { ScannedBody } from '../body/body-scanner.ts';
import type { Endpoint } from '../endpoints.ts';
import type { Refusal } from '../errors.ts';
import { badRequest } from '../errors.ts';
import type { Plane } from '../plane.ts';
import type { Account } from '../record.ts';
import type { Unfit } from '../unfit.ts';

const { AttemptEnd, Outcome } = route;

/** A user whose tokens are limited must have streams of chat tell their usage. */
export function lacksUsage(
  plane: Plane,
  { tenantId }: Account,
  { path }: Endpoint,
  { stream, includeUsage }: ScannedBody,
): Refusal | undefined {
  if (!stream || includeUsage || tenantId === '' || path !== '/v1/chat/completions') return undefined;
  const user = aibrixUserOf(plane.state().tenancy.tenants.get(tenantId));
  if (user === undefined || usesDefaultTokens(user)) return undefined;
  return badRequest(
    'stream_usage_required',
    'The tokens of this user are limited. Send "stream_options":{"include_usage":true} with a stream.',
    'stream_options',
    ['x-error-no-stream-options-include-usage', 'include usage for stream options not set'],
  );
}

/** Whose answers AIBrix reads. */
const read = new Set([
  '/v1/chat/completions',
  '/v1/completions',
  '/v1/messages',
  '/v1/responses',
  '/v1/embeddings',
  '/v1/rerank',
  '/v1/classify',
]);

const openingBrace = 0x7b;
const blanks = new Set([0x20, 0x09, 0x0a, 0x0d]);

const failure = (status: number, marker: string, message: string): Refusal => ({
  status,
  code: status < 500 ? 'upstream_error' : 'upstream_failed',
  message,
  outcome: Outcome.UPSTREAM_FAILED,
  marker: [marker, 'true'],
});

/** No JSON at all: the engine, or what stands before it, is not what it should be. */
const unreadable: Unfit = {
  end: AttemptEnd.BAD_ANSWER,
  message: 'its answer is no JSON object',
  refusal: failure(500, 'x-error-response-unmarshal', 'The answer of the engine is no JSON object. Try again.'),
};

const malformedEvent: Unfit = {
  end: AttemptEnd.BAD_ANSWER,
  message: 'its stream has an event with usage that is no JSON',
  refusal: failure(500, 'x-error-streaming', 'The stream of the engine has an event that is no JSON. Try again.'),
};

interface Told {
  readonly model?: unknown;
  readonly object?: unknown;
  readonly error?: unknown;
  readonly message?: unknown;
  readonly code?: unknown;
}

const objectOf = (value: unknown): Told | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;

/** An error under a status of success, nested or flat: its own numeric code is the status, else 500. */
function disguised(body: Told): Unfit | undefined {
  if (typeof body.model === 'string' && body.model !== '') return undefined;
  const error = objectOf(body.error) ?? (body.object === 'error' ? body : undefined);
  if (error === undefined) return undefined;
  const code = Number(error.code ?? body.code);
  const status = Number.isInteger(code) && code >= 400 && code < 600 ? code : 500;
  const message = typeof error.message === 'string' ? error.message.slice(0, 1_024) : 'The engine told an error.';
  return {
    end: AttemptEnd.ANSWERED,
    message: `it told an error under status 200: ${message}`,
    status,
    refusal: {
      ...failure(status, 'x-error-response-unknown', message),
      code: 'upstream_error',
      outcome: Outcome.UPSTREAM_ERROR,
    },
  };
}

/** What AIBrix takes for no answer, looked for in the first bytes: later nothing can be taken back. */
export function unsound({ path }: Endpoint, answer: Answer, chunk: Buffer): Unfit | undefined {
  if (answer.status !== 200 || !answer.plain || !read.has(path)) return undefined;
  if (answer.sse !== undefined) return chunk.includes('"usage"') && !eventsRead(chunk) ? malformedEvent : undefined;
  let at = 0;
  while (blanks.has(chunk[at] ?? 0)) at++;
  if (at === chunk.length) return undefined;
  if (chunk[at] !== openingBrace) return unreadable;
  if (chunk.length !== answer.length) return undefined;
  try {
    return disguised(JSON.parse(chunk.toString('utf8')) as Told);
  } catch {
    return unreadable;
  }
}

/** Every event with usage that stands whole in these bytes is JSON. */
function eventsRead(chunk: Buffer): boolean {
  const lines = chunk.toString('utf8').split('\n');
  // What comes behind the last line end may go on.
  lines.pop();
  return lines.every((line) => {
    if (!line.startsWith('data:') || !line.includes('"usage"')) return true;
    try {
      JSON.parse(line.slice('data:'.length));
      return true;
    } catch {
      return false;
    }
  });
}
