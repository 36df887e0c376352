/** An answer of vLLM's error handler. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly type: string,
    readonly param: string | null = null,
  ) {
    super(message);
  }

  get body(): string {
    return JSON.stringify({
      error: { message: this.message, type: this.type, param: this.param, code: this.status },
    });
  }
}

export const badRequest = (message: string, param: string | null = null): ApiError =>
  new ApiError(400, message, 'BadRequestError', param);

/** A wrong value in vLLM's words: the message ends with the parameter. */
export const badValue = (message: string, param: string, shown?: string): ApiError =>
  badRequest(`${message} (parameter=${param}${shown === undefined ? '' : `, value=${shown}`})`, param);

export const unknownModel = (model: string, aliases: readonly string[]): ApiError =>
  new ApiError(
    404,
    `The model \`${model}\` does not exist. Valid aliases: ${aliases.join(', ')}.`,
    'NotFoundError',
    'model',
  );

export const overloaded = (): ApiError =>
  new ApiError(
    503,
    'The engine is currently busy and cannot accept new requests. Please try again later or on a different instance.',
    'Service Unavailable',
  );

export const notFound = '{"detail":"Not Found"}';
export const methodNotAllowed = '{"detail":"Method Not Allowed"}';

interface Violation {
  readonly type: string;
  readonly loc: string;
  readonly msg: string;
  readonly input: string;
  readonly context?: string;
}

const violationsShownMax = 10;

/** A text as Python's repr quotes it. */
const quoted = (text: string): string => (text.includes("'") && !text.includes('"') ? `"${text}"` : `'${text}'`);

/** What FastAPI's validation says, in vLLM's rendering. `count` when there are more than those given. */
export function invalid(violations: readonly Violation[], count: number = violations.length): ApiError {
  const lines = violations
    .slice(0, violationsShownMax)
    .map(
      ({ type, loc, msg, input, context }) =>
        `  {'type': '${type}', 'loc': '${loc}', 'msg': ${quoted(msg)}, 'input': ${quoted(input)}${context === undefined ? '' : `, 'ctx': ${context}`}}`,
    );
  if (count > lines.length) lines.push(`  ...and ${count - lines.length} more errors`);
  const plural = count === 1 ? 'error' : 'errors';
  return new ApiError(400, `${count} validation ${plural}:\n${lines.join('\n')}`, 'Bad Request', violations[0]!.loc);
}

/** A value as Python would show it in a validation error. */
export function pythonInput(value: unknown): string {
  if (value === null || value === undefined) return 'None';
  if (Array.isArray(value)) return `<list of ${value.length} items>`;
  if (typeof value === 'object') return `<dict of ${Object.keys(value).length} items>`;
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  return String(value);
}

export const pythonFloat = (value: number): string => (Number.isInteger(value) ? `${value}.0` : String(value));
