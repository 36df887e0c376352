import type { ContentFormat } from './conversation.ts';

/** A node of the template's tree; its kinds are many and only a few matter here. */
interface Node {
  readonly type: string;
  readonly [field: string]: unknown;
}

const isNode = (value: unknown): value is Node =>
  typeof value === 'object' && value !== null && typeof (value as { type?: unknown }).type === 'string';

function* nodes(root: unknown): Generator<Node> {
  if (Array.isArray(root)) for (const each of root) yield* nodes(each);
  else if (root instanceof Map) for (const each of root) yield* nodes(each);
  else if (isNode(root)) {
    yield root;
    for (const field of Object.values(root)) if (typeof field === 'object') yield* nodes(field);
  }
}

const isName = (node: unknown, name: string): boolean =>
  isNode(node) && node.type === 'Identifier' && node['value'] === name;

/** The variable, or its field where `key` is given, whatever filters, tests and slices stand around. */
function reads(node: unknown, name: string, key?: string): boolean {
  if (!isNode(node)) return false;
  if (node.type === 'FilterExpression' || node.type === 'TestExpression') return reads(node['operand'], name, key);
  if (node.type === 'SelectExpression') return reads(node['lhs'], name, key);
  if (node.type === 'MemberExpression') {
    const property = node['property'];
    if (isNode(property) && property.type === 'SliceExpression') return reads(node['object'], name, key);
    return key !== undefined && isName(node['object'], name) && isNode(property) && property['value'] === key;
  }
  return key === undefined && isName(node, name);
}

const nameOf = (node: unknown): string => (isNode(node) && typeof node['value'] === 'string' ? node['value'] : '');

/**
 * Whether the template goes through the parts of a message's content, as vLLM finds out: then it is given them, else their texts
 * joined.
 */
export function contentFormat(program: unknown): ContentFormat {
  const all = [...nodes(program)];
  const loops = all.filter(({ type }) => type === 'For');
  const lists = new Set(['messages']);
  for (let before = 0; before !== lists.size;) {
    before = lists.size;
    for (const { type, assignee, value } of all) {
      if (type === 'Set' && [...lists].some((name) => reads(value, name))) lists.add(nameOf(assignee));
    }
  }
  const messages = loops
    .filter(({ iterable }) => [...lists].some((name) => reads(iterable, name)))
    .map(({ loopvar }) => nameOf(loopvar));
  const ofContent = (node: unknown): boolean => messages.some((name) => reads(node, name, 'content'));
  const inMacros = new Map<Node, Set<string>>();
  for (const macro of all.filter(({ type }) => type === 'Macro')) {
    const parameters = (macro['args'] as readonly unknown[]).map((each) =>
      isNode(each) && each.type === 'KeywordArgumentExpression' ? nameOf(each['key']) : nameOf(each),
    );
    const given = new Set<string>();
    for (const { type, callee, args } of all) {
      if (type !== 'CallExpression' || !isName(callee, nameOf(macro['name']))) continue;
      (args as readonly unknown[]).forEach((each, index) => {
        const keyword = isNode(each) && each.type === 'KeywordArgumentExpression';
        if (ofContent(keyword ? each['value'] : each))
          given.add(keyword ? nameOf(each['key']) : (parameters[index] ?? ''));
      });
    }
    for (const loop of nodes(macro['body'])) if (loop.type === 'For') inMacros.set(loop, given);
  }
  const through = loops.some((loop) => {
    const { iterable } = loop;
    if (ofContent(iterable)) return true;
    const given = inMacros.get(loop);
    return given === undefined
      ? isName(iterable, 'content')
      : given.has(nameOf(iterable)) && isName(iterable, nameOf(iterable));
  });
  return through ? 'openai' : 'string';
}
