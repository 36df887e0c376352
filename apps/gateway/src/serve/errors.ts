import { route } from '#libs/contracts';
import type { BodyProblem } from './body/body-scanner.ts';
import { acceptedEncodings } from '../edge/decoder.ts';
import type { Dialect } from './endpoints.ts';

/** How a request is refused: an OpenAI-shaped answer, and what its record says. */
export interface Refusal {
  readonly status: number;
  readonly code: string;
  /** Says what is wrong and what to do. */
  readonly message: string;
  readonly param?: string | null;
  readonly outcome: route.Outcome;
  /** AIBrix's marker header, with its value. */
  readonly marker?: readonly [name: string, value: string];
  readonly retryAfterS?: number;
  /** The connection cannot be used further. */
  readonly close?: boolean;
  /** Methods of the path, for 405. */
  readonly allow?: string;
}

const typeOf = (status: number): string => {
  if (status === 401) return 'authentication_error';
  if (status === 403) return 'permission_error';
  if (status === 404) return 'not_found_error';
  if (status === 429) return 'rate_limit_error';
  return status >= 500 ? 'server_error' : 'invalid_request_error';
};

/** OpenAI's shape of an error. */
export const errorBody = (status: number, code: string, message: string, param: string | null = null): string =>
  JSON.stringify({ error: { message, type: typeOf(status), param, code } });

const anthropicTypes: Readonly<Record<number, string>> = {
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  503: 'overloaded_error',
  504: 'timeout_error',
};

/** Anthropic's shape of an error. */
export const anthropicErrorBody = (status: number, message: string, requestId: string): string =>
  JSON.stringify({
    type: 'error',
    error: { type: anthropicTypes[status] ?? (status >= 500 ? 'api_error' : 'invalid_request_error'), message },
    request_id: requestId,
  });

/** The event that ends a stream which broke, as the clients of its endpoint raise it. */
export function errorEvent(dialect: Dialect, status: number, code: string, message: string, requestId: string): string {
  if (dialect === 'anthropic') return `event: error\ndata: ${anthropicErrorBody(status, message, requestId)}\n\n`;
  if (dialect === 'responses') {
    return `event: error\ndata: ${JSON.stringify({ type: 'error', code, message, param: null })}\n\n`;
  }
  return `data: ${errorBody(status, code, message)}\n\n`;
}

const { Outcome } = route;
const shown = (text: string): string => (text.length > 128 ? `${text.slice(0, 128)}…` : text);

export const badRequest = (
  code: string,
  message: string,
  param: string | null = null,
  marker: readonly [string, string] = ['x-error-request-body-processing', 'true'],
): Refusal => ({ status: 400, code, message, param, outcome: Outcome.REJECTED_BAD_REQUEST, marker });

export const badBody = ({ code, message, param }: BodyProblem): Refusal =>
  badRequest(code, message, param, bodyMarker(code, param));

function bodyMarker(code: string, param: string | null): readonly [string, string] {
  if (param === 'stream' && code === 'invalid_type') return ['x-error-stream', 'stream incorrectly set'];
  return [code === 'missing_model' ? 'x-error-no-model-in-request' : 'x-error-request-body-processing', 'true'];
}

export const ownTransferField = (name: string): Refusal =>
  badRequest(
    'transfer_field_not_allowed',
    `"${name}" is written by the gateway where prefill and decode are two replicas. Leave it out.`,
    name,
  );

export const severalModels: Refusal = badRequest(
  'missing_model',
  'The body names no "model", and there is not just one. Name one of GET /v1/models.',
  'model',
  ['x-error-no-model-in-request', 'true'],
);

export const tooLarge = (bytesMax: number): Refusal => ({
  status: 413,
  code: 'body_too_large',
  message: `The body is larger than ${bytesMax} bytes. Send less.`,
  outcome: Outcome.REJECTED_BAD_REQUEST,
  marker: ['x-error-request-body-processing', 'true'],
  close: true,
});

export const notForm: Refusal = {
  ...badRequest(
    'invalid_content_type',
    'This endpoint takes multipart/form-data with one boundary of at most 70 characters.',
    null,
    ['x-error-multipart-parsing', 'true'],
  ),
  close: true,
};

export const badForm = ({ code, message, param }: BodyProblem): Refusal => ({
  ...badRequest(code, message, param, ['x-error-multipart-parsing', 'true']),
  close: true,
});

export const modelTooLate = (bytesMax: number): Refusal => ({
  ...badRequest(
    'model_too_late',
    `"model" does not stand in the first ${bytesMax} bytes of the form. Put it before the file.`,
    'model',
    ['x-error-multipart-parsing', 'true'],
  ),
  close: true,
});

export const unsupportedEncoding = (encoding: string): Refusal => ({
  status: 415,
  code: 'unsupported_content_encoding',
  message: `The body is encoded as "${shown(encoding)}". Send it as ${acceptedEncodings}, or without content-encoding.`,
  outcome: Outcome.REJECTED_BAD_REQUEST,
  marker: ['x-error-request-body-processing', 'true'],
  close: true,
});

export const badEncoding = (bomb: boolean): Refusal => ({
  status: bomb ? 413 : 400,
  code: bomb ? 'body_expands_too_much' : 'invalid_content_encoding',
  message: bomb
    ? 'The body expands beyond what any text does. Send it without content-encoding.'
    : 'The body is not what its content-encoding says. Encode it whole, or send it without.',
  outcome: Outcome.REJECTED_BAD_REQUEST,
  marker: ['x-error-request-body-processing', 'true'],
  close: true,
});

export const invalidKey = (reason: 'missing' | 'unknown' | 'revoked' | 'expired' | 'rotated'): Refusal => ({
  status: 401,
  code: reason === 'missing' ? 'missing_api_key' : 'invalid_api_key',
  message:
    reason === 'missing'
      ? 'No API key was given. Send it as "authorization: Bearer <key>".'
      : reason === 'unknown'
        ? 'The API key is not known here. Check it, or ask for a new one.'
        : reason === 'rotated'
          ? 'The API key was rotated, and its overlap has ended. Use the new one.'
          : `The API key is ${reason}. Ask for a new one.`,
  outcome: Outcome.REJECTED_AUTH,
  marker: ['x-error-user', 'true'],
});

export const tooManyKeys = (retryAfterS: number): Refusal => ({
  status: 429,
  code: 'too_many_failed_keys',
  message: `Too many unknown API keys came from this address. Try again in ${retryAfterS} s with a key that is known here.`,
  outcome: Outcome.REJECTED_AUTH,
  marker: ['x-error-user', 'true'],
  retryAfterS,
});

export const modelNotAllowed = (model: string): Refusal => ({
  status: 403,
  code: 'model_not_allowed',
  message: `The API key may not use model "${shown(model)}". GET /v1/models lists those that it may.`,
  param: 'model',
  outcome: Outcome.REJECTED_MODEL,
});

export const unknownUser = (name: string): Refusal => ({
  status: 401,
  code: 'unknown_user',
  message: `There is no user "${shown(name)}". POST /CreateUser makes one.`,
  outcome: Outcome.REJECTED_AUTH,
  marker: ['x-error-user', 'true'],
});

export const endpointNotAllowed = (path: string): Refusal => ({
  status: 403,
  code: 'endpoint_not_allowed',
  message: `The API key may not call ${path}. Use a key whose scope has that endpoint, or ask for it.`,
  outcome: Outcome.REJECTED_AUTH,
});

export const modelNotFound = (model: string, compat: boolean, meant: string | undefined): Refusal => ({
  status: compat ? 400 : 404,
  code: 'model_not_found',
  message: `The model "${shown(model)}" does not exist. ${meant === undefined ? 'GET /v1/models lists those that do.' : `Did you mean "${meant}"?`}`,
  param: 'model',
  outcome: Outcome.REJECTED_MODEL,
  marker: ['x-error-no-model-backends', headerText(model)],
});

export const responseUnknown = (id: string): Refusal => ({
  status: 404,
  code: 'response_not_found',
  message: `There is no response "${shown(id)}" here.`,
  param: 'response_id',
  outcome: Outcome.REJECTED_BAD_REQUEST,
});

export const modelsSettling = (model: string): Refusal => ({
  status: 503,
  code: 'models_settling',
  message: `Not every replica has said yet which models it serves, and none so far serves "${shown(model)}". Try again.`,
  param: 'model',
  outcome: Outcome.REJECTED_NO_REPLICA,
  marker: ['x-error-no-model-backends', headerText(model)],
  retryAfterS: 1,
});

export const noReplica = (model: string, why: string): Refusal => ({
  status: 503,
  code: 'no_ready_replica',
  message: `No replica of "${shown(model)}" takes requests now (${why}). Try again.`,
  outcome: Outcome.REJECTED_NO_REPLICA,
  marker: ['x-error-no-model-backends', headerText(model)],
  retryAfterS: 2,
});

export const noneSelected = (selector: string): Refusal => ({
  status: 503,
  code: 'no_replica_selected',
  message: `No ready replica fits external-filter "${shown(selector)}". Widen it or try again.`,
  outcome: Outcome.REJECTED_NO_REPLICA,
  marker: ['x-error-routing', 'true'],
  retryAfterS: 2,
});

export const invalidSelector: Refusal = badRequest(
  'invalid_external_filter',
  'external-filter is no label selector. Write for example "tier=gold,zone in (a,b),!canary".',
  null,
  ['x-error-routing', 'true'],
);

export const invalidStrategy = (message: string): Refusal => ({
  status: 400,
  code: 'invalid_routing_strategy',
  message,
  param: 'routing-strategy',
  outcome: Outcome.REJECTED_BAD_REQUEST,
  marker: ['x-error-invalid-routing-strategy', 'true'],
});

export const rateExceeded = (perSecond: number): Refusal => ({
  status: 429,
  code: 'model_rps_exceeded',
  message: `Over ${perSecond} requests per second under this profile. Try again in a second.`,
  outcome: Outcome.REJECTED_QUOTA,
  marker: ['x-error-model-rps-exceeded', 'true'],
  retryAfterS: 1,
});

export const overCapacity = (what: string): Refusal => ({
  status: 503,
  code: 'gateway_over_capacity',
  message: `The gateway holds ${what}. Try again.`,
  outcome: Outcome.REJECTED_CAPACITY,
  retryAfterS: 1,
  close: true,
});

export const starting = (why: string): Refusal => ({
  status: 503,
  code: 'starting',
  message: `The gateway is starting: ${why}. Try again in a moment.`,
  outcome: Outcome.REJECTED_CAPACITY,
  retryAfterS: 1,
});

export const draining: Refusal = {
  status: 503,
  code: 'gateway_draining',
  message: 'The gateway is stopping. Send the request again, to another one or in a moment.',
  outcome: Outcome.REJECTED_CAPACITY,
  retryAfterS: 1,
  close: true,
};

export const invalidIdempotencyKey: Refusal = badRequest(
  'invalid_idempotency_key',
  'idempotency-key must be 1 to 255 visible ASCII characters.',
  'idempotency-key',
);

export const idempotencyConflict: Refusal = {
  status: 422,
  code: 'idempotency_key_reused',
  message: 'This idempotency-key came with another request before. Use a new key for a new request.',
  param: 'idempotency-key',
  outcome: Outcome.REJECTED_BAD_REQUEST,
};

export const invalidTimeout: Refusal = badRequest(
  'invalid_request_timeout',
  'x-request-timeout-ms must be a whole number of milliseconds from 1 to 86400000.',
  'x-request-timeout-ms',
);

export const deadlineExceeded = (timeoutMs: number): Refusal => ({
  status: 504,
  code: 'deadline_exceeded',
  message: `The answer was not there within the ${timeoutMs} ms of x-request-timeout-ms. Give it longer, or ask for less.`,
  outcome: Outcome.EVICTED_DEADLINE,
  close: true,
});

export const upstreamFailed = (status: 502 | 503 | 504, why: string, retryAfterS: number | undefined): Refusal => ({
  status,
  code: status === 503 ? 'upstream_overloaded' : status === 504 ? 'upstream_timeout' : 'upstream_failed',
  message: `No replica answered: ${why}. Try again.`,
  outcome: Outcome.UPSTREAM_FAILED,
  marker: ['x-error-response-unknown', 'true'],
  ...(retryAfterS === undefined ? {} : { retryAfterS }),
});

export const internalError: Refusal = {
  status: 500,
  code: 'internal_error',
  message: 'The gateway made a mistake. Its log says more under this request id.',
  outcome: Outcome.INTERNAL_ERROR,
  close: true,
};

export const invalidTarget: Refusal = {
  status: 400,
  code: 'invalid_request_target',
  message: 'The request target must be a path such as /v1/chat/completions.',
  outcome: Outcome.REJECTED_BAD_REQUEST,
  close: true,
};

export const unknownPath = (path: string, compat: boolean): Refusal => ({
  status: compat ? 501 : 404,
  code: 'unknown_path',
  message: `There is no ${shown(path)} here. See /v1/chat/completions, /v1/responses, /v1/messages, /v1/embeddings, /v1/models.`,
  outcome: Outcome.REJECTED_BAD_REQUEST,
});

export const wrongMethod = (method: string, path: string, allow: string): Refusal => ({
  status: 405,
  code: 'method_not_allowed',
  message: `${shown(path)} does not take ${method}. Use ${allow}.`,
  outcome: Outcome.REJECTED_BAD_REQUEST,
  allow,
});

/** What of a client's text may stand in a header's value. */
function headerText(text: string): string {
  return /^[\x21-\x7e]{1,128}$/.test(text) ? text : 'true';
}
