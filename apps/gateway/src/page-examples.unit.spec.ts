import { describe, expect, test } from '@jest/globals';
import { create } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import { checkPolicy } from '#libs/domain/route';
import { desiredOf, parseConfig } from '#libs/nest-kit';
import { docExamples } from '#libs/testkit';
import { Networks } from './edge/addresses.ts';
import { Cors } from './edge/cors.ts';

/** An example as a whole file: a page shows profiles without the policy that they stand in, and a key without its hash. */
function wholeFile(yaml: string): string {
  const text = yaml.replace('sha256: "…"', `sha256: "${'0'.repeat(64)}"`);
  if (!/^(?:profiles|routingConfig):/.test(text)) return text;
  const profiles = text.startsWith('profiles:')
    ? text
    : `profiles:\n  own:\n    strategy: lintel\n${text.replace(/^(?=.)/gm, '    ')}`;
  const name = /^ {2}(\w+):/m.exec(profiles)?.[1];
  return `policies:\n  - id: own\n    models: ["*"]\n    defaultProfile: ${name}\n${profiles.replace(/^(?=.)/gm, '    ')}`;
}

describe.each(['README.md', 'docs/gateway.md', 'apps/gateway/src/flow/README.md'])('%s', (page) => {
  test.each(docExamples(page, 'yaml').map((yaml) => [yaml.trim().replaceAll(/\s+/g, ' ').slice(0, 60), yaml]))(
    '%s',
    (_, yaml) => {
      const desired = desiredOf(parseConfig(wholeFile(yaml), page), page);
      for (const policy of desired.policies) checkPolicy(create(route.RoutingPolicySchema, policy));
    },
  );
});

test('the examples of browsers and of proxies mean what the page says', () => {
  const config = (section: string): ReturnType<typeof parseConfig> =>
    parseConfig(docExamples('docs/gateway.md', 'yaml', section)[0]!, section);
  expect(new Cors(config('Browsers').cors!).allows('https://a.example.org')).toBe(true);
  expect(new Networks(config('Behind proxies').trustedProxies!.networks).has('10.1.1.1')).toBe(true);
});
