import { CodedError, errorCode, errorText } from '#libs/kernel';

/** SQLSTATE classes and codes after which the same statement may well succeed. */
const passing = /^(08|53|57P0[1-5]|57014|40001|40P01|55P03|58030)/;
const networkCodes = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
]);
/** The driver gives these no code. */
const driverTexts =
  /Connection terminated|connection timeout|timeout exceeded when trying to connect|Query read timeout|Client has encountered a connection error|Cannot use a pool after/i;

export const isMissingPartition = (error: unknown): boolean =>
  errorCode(error) === '23514' && /no partition of relation/.test(errorText(error));

export const isUniqueViolation = (error: unknown): boolean => errorCode(error) === '23505';

/**
 * What went wrong, in three codes. DB_UNAVAILABLE: away, try again. PROJECTION_ROW_REFUSED: it does not take these values.
 * DB_FAILED: a statement that can never work, a fault of ours or of a foreign schema.
 */
export function databaseError(error: unknown): CodedError {
  if (error instanceof CodedError) return error;
  const code = errorCode(error);
  const text = errorText(error) || code;
  if (passing.test(code) || networkCodes.has(code) || driverTexts.test(text) || error instanceof AggregateError) {
    return new CodedError('DB_UNAVAILABLE', `database: ${text}`, {
      advice: 'Requests go on without it; the projections follow when it is back. Check that Postgres runs.',
      cause: error,
    });
  }
  if (/^2[123]/.test(code)) {
    return new CodedError('PROJECTION_ROW_REFUSED', `database refuses a value (${code}): ${text}`, { cause: error });
  }
  if (/^28|^3D000/.test(code)) {
    return new CodedError('DB_FORBIDDEN', `database: ${text}`, {
      advice: 'Check user, password and database name in LINTEL_DATABASE_URL.',
      cause: error,
    });
  }
  return new CodedError('DB_FAILED', `database (${code}): ${text}`, {
    advice: 'The schema may be of another version: run the newest Lintel once, or rebuild the projection.',
    cause: error,
  });
}
