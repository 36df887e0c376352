import type { DescEnum } from '@bufbuild/protobuf';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

/** Unknown is null in JSON, never 0: NaN and the infinities have no other form there. */
export function known(value: number | undefined): number | null {
  return value === undefined || !Number.isFinite(value) ? null : value;
}

/** "client_gone" for OUTCOME_CLIENT_GONE; the bare number for a value of a newer writer. */
export function enumName(schema: DescEnum, value: number): string {
  return schema.value[value]?.localName.toLowerCase() ?? String(value);
}
