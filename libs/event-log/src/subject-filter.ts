/** A test for NATS subject filters: `*` stands for one token, `>` for one or more at the end. No filter is everything. */
export function subjectFilter(filters: readonly string[] | undefined): (subject: string) => boolean {
  if (filters === undefined || filters.length === 0 || filters.includes('>')) return () => true;
  const patterns = filters.map((filter) => filter.split('.'));
  return (subject) => {
    const tokens = subject.split('.');
    return patterns.some((pattern) => matches(pattern, tokens));
  };
}

function matches(pattern: readonly string[], tokens: readonly string[]): boolean {
  for (const [index, part] of pattern.entries()) {
    if (part === '>') return tokens.length > index;
    if (index >= tokens.length || (part !== '*' && part !== tokens[index])) return false;
  }
  return pattern.length === tokens.length;
}
