/** A Kubernetes label selector over a replica's labels. */
export type Selector = (labels: Readonly<Record<string, string>>) => boolean;

const name = String.raw`(?:[A-Za-z0-9][A-Za-z0-9.-]{0,252}/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?`;
const valueOf = String.raw`(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?`;
const setBased = new RegExp(String.raw`^(${name})\s+(in|notin)\s*\(([^()]*)\)$`);
const equality = new RegExp(String.raw`^(${name})\s*(==?|!=)\s*(${valueOf})$`);
const exists = new RegExp(String.raw`^(!?)\s*(${name})$`);
const oneValue = new RegExp(`^${valueOf}$`);

const has = (labels: Readonly<Record<string, string>>, key: string): boolean => Object.hasOwn(labels, key);

/** Splits at commas outside of parentheses. */
function requirements(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let at = 0; at <= text.length; at++) {
    const char = text[at];
    if (char === '(') depth++;
    else if (char === ')') depth--;
    else if (at === text.length || (char === ',' && depth === 0)) {
      parts.push(text.slice(start, at).trim());
      start = at + 1;
    }
  }
  return parts;
}

function requirement(text: string): Selector | undefined {
  const set = setBased.exec(text);
  if (set !== null) {
    const [, key, operator, list] = set as unknown as [string, string, string, string];
    const values = list.split(',').map((value) => value.trim());
    if (values.some((value) => !oneValue.test(value))) return undefined;
    return operator === 'in'
      ? (labels) => has(labels, key) && values.includes(labels[key] as string)
      : (labels) => !has(labels, key) || !values.includes(labels[key] as string);
  }
  const equal = equality.exec(text);
  if (equal !== null) {
    const [, key, operator, value] = equal as unknown as [string, string, string, string];
    return operator === '!='
      ? (labels) => !has(labels, key) || labels[key] !== value
      : (labels) => has(labels, key) && labels[key] === value;
  }
  const present = exists.exec(text);
  if (present === null) return undefined;
  const [, not, key] = present as unknown as [string, string, string];
  return not === '!' ? (labels) => !has(labels, key) : (labels) => has(labels, key);
}

/** Equality and set-based requirements, joined by commas; undefined where the text is no selector. '' selects all. */
export function parseSelector(text: string, lengthMax: number): Selector | undefined {
  if (text.length > lengthMax) return undefined;
  if (text.trim() === '') return () => true;
  const all: Selector[] = [];
  for (const part of requirements(text)) {
    const one = requirement(part);
    if (one === undefined) return undefined;
    all.push(one);
  }
  return (labels) => all.every((one) => one(labels));
}
