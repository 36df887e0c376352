import type { MessageInitShape } from '@bufbuild/protobuf';
import type { tenancy } from '#libs/contracts';
import { z } from 'zod';

/** What a thing costs, in units of the currency: a number, or its text where a number would not be exact. */
const decimal = z.union([z.number(), z.string()]).transform((value) => String(value));

const perMillionMax = 1_000;
const perRequestMax = 100_000;
/** As many billionths as a double counts exactly. */
const spendingMax = 9_000_000;

/** Billionths per token of a price per million tokens: thousandths of it. */
const perMillion = decimal.transform((text, context) => wholeOf(text, 3, perMillionMax, context));
const perRequest = decimal.transform((text, context) => wholeOf(text, 9, perRequestMax, context));

/** The decimal times ten to the power, exactly; without floating point, in which 0.075 is none. */
function wholeOf(text: string, power: number, max: number, context: z.RefinementCtx): number {
  const matched = /^(\d{1,9})(?:\.(\d*))?$/.exec(plain(text));
  const [, whole = '', fraction = ''] = matched ?? [];
  const digits = fraction.replace(/0+$/, '');
  const problem =
    matched === null
      ? 'must be an amount such as 2.50'
      : digits.length > power
        ? `has more than ${power} digits after the point: no billionth is finer`
        : Number(whole) + (digits === '' ? 0 : 1) > max + 1 || Number(`${whole}.${digits}0`) > max
          ? `is more than ${max}`
          : undefined;
  if (problem === undefined) return Number(`${whole}${digits.padEnd(power, '0')}`);
  context.addIssue({ code: 'custom', message: problem });
  return z.NEVER;
}

/** Numbers of YAML that JavaScript writes with an exponent, such as 1e-7. */
function plain(text: string): string {
  const matched = /^(\d)(?:\.(\d+))?e-(\d{1,2})$/.exec(text);
  if (matched === null) return text;
  const [, first = '', rest = '', zeros = ''] = matched;
  return `0.${'0'.repeat(Number(zeros) - 1)}${first}${rest}`;
}

/** Billionths of an amount of money. */
export const spending = decimal.transform((text, context) => wholeOf(text, 9, spendingMax, context));

const price = z.strictObject({
  /** As clients name it; "*" is each model that has no price of its own. */
  model: z.string().min(1).max(256),
  /** Per million tokens. */
  input: perMillion,
  /** The same as `input` where it is not given. */
  cachedInput: perMillion.optional(),
  output: perMillion.default(0),
  request: perRequest.default(0),
  /** From then on; without it always. */
  from: z.iso.datetime({ offset: true }).optional(),
});

export const pricesSchema = z.strictObject({
  currency: z.string().regex(/^[A-Z]{3}$/, 'must be three letters such as USD'),
  models: z.array(price).max(4_096).default([]),
});

export interface DesiredPricesConfig {
  readonly currency: string;
  readonly prices: readonly MessageInitShape<typeof tenancy.PriceSchema>[];
}

export function desiredPrices(given: z.output<typeof pricesSchema> | undefined): DesiredPricesConfig | undefined {
  if (given === undefined) return undefined;
  return {
    currency: given.currency,
    prices: given.models.map(({ model, input, cachedInput, output, request, from }) => ({
      model,
      inputNano: input,
      cachedInputNano: cachedInput ?? input,
      outputNano: output,
      requestNano: request,
      effectiveFromMs: from === undefined ? 0 : Date.parse(from),
    })),
  };
}
