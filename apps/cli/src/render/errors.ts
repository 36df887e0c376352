import { CodedError, errorCode, errorText } from '#libs/kernel';
import type { Paint } from './text.ts';
import { clean } from './text.ts';

const lines = (text: string): string => text.split('\n').map(clean).join('\n');

/** Message, then what to do, then the code to search for. */
export function renderError(thrown: unknown, paint: Paint): string {
  const code = errorCode(thrown);
  const advice = thrown instanceof CodedError && thrown.advice !== undefined ? `\n${lines(thrown.advice)}` : '';
  return `${paint.red('error:')} ${lines(errorText(thrown))}${code === 'UNKNOWN' ? '' : paint.dim(` [${clean(code)}]`)}${advice}`;
}

/** The same for machines, on stderr. */
export function errorJson(thrown: unknown, exitCode: number): string {
  const advice = thrown instanceof CodedError ? thrown.advice : undefined;
  return JSON.stringify({
    error: {
      code: errorCode(thrown),
      message: errorText(thrown),
      ...(advice === undefined ? {} : { advice }),
      exitCode,
    },
  });
}
