import type { DescEnum } from '@bufbuild/protobuf';

const names = new Map<DescEnum, Map<number, string>>();

function namesOf(schema: DescEnum): Map<number, string> {
  const known = names.get(schema);
  if (known !== undefined) return known;
  const prefix = schema.sharedPrefix ?? '';
  const made = new Map(
    schema.values.map(({ number, name }) => [
      number,
      name.toLowerCase().slice(name.toLowerCase().startsWith(prefix) ? prefix.length : 0),
    ]),
  );
  names.set(schema, made);
  return made;
}

/** "rejected_auth" for OUTCOME_REJECTED_AUTH; the bare number for a value of a newer writer. */
export function enumText(schema: DescEnum, value: number): string {
  return namesOf(schema).get(value) ?? String(value);
}
