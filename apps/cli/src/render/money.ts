import { nanoText as exactText } from '#libs/domain/tenancy';
import { unknown } from './units.ts';

/** Billionths of a currency as a decimal, exactly; "?" for what is not known. */
export function nanoText(nano: number | bigint | null | undefined): string {
  if (nano === null || nano === undefined) return unknown;
  return typeof nano === 'number' && !Number.isSafeInteger(nano) ? unknown : exactText(nano);
}
