import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { parseConfig } from '#libs/nest-kit';
import { Cors } from './cors.ts';
import { Networks } from './addresses.ts';

const page = readFileSync(join(import.meta.dirname, '../../../../docs/gateway.md'), 'utf8');

/** The example of a section of docs/gateway.md. */
function exampleOf(title: string): string {
  const section = page.split(`\n## ${title}\n`)[1]?.split('\n## ')[0] ?? '';
  return /```yaml\n([^]*?)```/.exec(section)?.[1] ?? '';
}

test.each(['Tenants apart', 'Encryption and HTTP/2', 'Browsers', 'Behind proxies', 'Replicas behind https'])(
  'the example of "%s" is a configuration',
  (title) => {
    const text = exampleOf(title);
    expect(text).not.toBe('');
    const { cors, trustedProxies } = parseConfig(text, 'docs/gateway.md');
    if (cors !== undefined) expect(new Cors(cors).allows('https://a.example.org')).toBe(true);
    if (trustedProxies !== undefined) expect(new Networks(trustedProxies.networks).has('10.1.1.1')).toBe(true);
  },
);
