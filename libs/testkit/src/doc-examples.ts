import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '../../..');

/** The blocks of code of a page, such as docs/gateway.md, or of one section of it. What has no such block is a mistake of the test. */
export function docExamples(page: string, language: string, section?: string): string[] {
  const text = readFileSync(join(root, page), 'utf8');
  const at = section === undefined ? 0 : text.search(new RegExp(`^#+ ${section}$`, 'm'));
  const part = at < 0 ? '' : text.slice(at);
  const own = section === undefined ? part : part.split(/\n#+ /, 1)[0]!;
  // Blocks are taken pairwise, so that the end of one is not the start of the next.
  const examples = [...own.matchAll(/^```(\w*)\n([^]*?)^```$/gm)].flatMap(([, of, code = '']) =>
    of === language ? [code] : [],
  );
  if (examples.length === 0) throw new Error(`no example in ${language || 'plain text'} in ${page} ${section ?? ''}`);
  return examples;
}
