/**
 * An error that a reader can act on. `code` is stable and closed per context (`LOG_CONFLICT`); `message` says what is
 * wrong with the values in question; `advice` says what to do.
 */
export class CodedError extends Error {
  readonly code: string;
  readonly advice: string | undefined;

  constructor(code: string, message: string, options: { advice?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.advice = options.advice;
  }
}

/** The text of anything that was thrown. */
export function errorText(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** The code of a coded or Node error, else `UNKNOWN`. */
export function errorCode(thrown: unknown): string {
  const code = (thrown as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : 'UNKNOWN';
}
