import { CodedError } from '#libs/kernel';
import { z } from 'zod';
import { limits } from '../limits.ts';

/** What a client sent, as the schema says it should be. @throws BAD_REQUEST with each mistake */
export function given<S extends z.ZodType>(schema: S, value: unknown): z.output<S> {
  const result = schema.safeParse(value ?? {});
  if (result.success) return result.data;
  const mistakes = result.error.issues.map(
    ({ path, message }) => `${path.map(String).join('.') || 'body'}: ${message}`,
  );
  throw new CodedError('BAD_REQUEST', mistakes.join('; '), {
    advice: 'docs/diagnostics.md lists what each route takes.',
  });
}

const whole = (max: number): z.ZodType<number> => z.coerce.number().int().min(0).max(max);

/** A number as it stands in a query or a body. */
export const sequence = whole(Number.MAX_SAFE_INTEGER);
export const limitUpTo = (max: number): z.ZodType<number> => z.coerce.number().int().min(1).max(max);
export const moment = z.union([z.string().min(1).max(64), z.number().int().nonnegative()]).transform(String);
export const text = (max: number): z.ZodString => z.string().min(1).max(max);
export const subjectId = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, 'must be 1 to 64 letters, digits, "_" or "-"');
export const flag = z
  .enum(['', '0', '1', 'true', 'false'])
  .transform((value) => value !== '0' && value !== 'false')
  .default(false);
export const anyId = text(limits.idLengthMax);
/** Stands in the commit. */
export const reasonGiven = z.strictObject({ reason: z.string().max(1024).default('') }).default({ reason: '' });
export const listGiven = z.object({
  minSeq: sequence.default(0),
  waitMs: limitUpTo(limits.minSeqWaitMsMax).default(limits.minSeqWaitMsMax),
});

/** "route.replica.*" and "lintel.ev.route.replica.*" both name those subjects. @throws BAD_REQUEST */
export function subjectFilterOf(subject: string | undefined): readonly string[] | undefined {
  if (subject === undefined) return undefined;
  const whole = subject.startsWith('lintel.') ? subject : `lintel.ev.${subject}`;
  if (/^lintel\.ev(\.([A-Za-z0-9_-]{1,64}|\*)){0,3}(\.>)?$/.test(whole) && whole !== 'lintel.ev') return [whole];
  throw new CodedError('BAD_REQUEST', `subject: ${JSON.stringify(subject)} is no filter of subjects`, {
    advice: 'Write lintel.ev.<context>.<aggregate>.<id>; "*" stands for one part, ">" for the rest.',
  });
}
