/** Fields whose values templates write out again, number by number and key by key. */
const written = /"(?:tools|tool_calls|documents|chat_template_kwargs)"/;
/** What JavaScript may write otherwise than it was written: fractions, exponents, long numbers, -0, keys that look like an index. */
const doubtful = /\d\.\d|\d[eE]|\d{16}|-0|"\d+"\s*:/;

type Inexact = ReadonlySet<object>;
const none: Inexact = new Set();

export interface ParsedJson {
  readonly value: unknown;
  /** Objects and arrays with a member that would be written otherwise. */
  readonly inexact: Inexact;
}

/** @throws SyntaxError */
export function parseExactly(text: string, always = false): ParsedJson {
  if (!doubtful.test(text) || !(always || written.test(text))) return { value: JSON.parse(text), inexact: none };
  const inexact = new Set<object>();
  const value: unknown = JSON.parse(text, function (this: object, key: string, member: unknown, ...context: unknown[]) {
    if (!Array.isArray(this) && /^(0|[1-9]\d*)$/.test(key)) inexact.add(this);
    const { source } = (context[0] ?? {}) as { source?: string };
    if (typeof member === 'number' && !sameInPython(member, source)) inexact.add(this);
    return member;
  } as (key: string, value: unknown) => unknown);
  return { value, inexact };
}

/** Python writes floats below 1e-4 and from 1e16 on with an exponent. */
const sameInPython = (value: number, source: string | undefined): boolean =>
  source === String(value) &&
  !/[eE]/.test(source) &&
  (Number.isInteger(value) ? Number.isSafeInteger(value) : Math.abs(value) >= 1e-4);

/** Whether something in the value would be written otherwise. */
export function anyInexact(value: unknown, inexact: Inexact): boolean {
  if (inexact.size === 0 || typeof value !== 'object' || value === null) return false;
  return inexact.has(value) || Object.values(value).some((each) => anyInexact(each, inexact));
}
