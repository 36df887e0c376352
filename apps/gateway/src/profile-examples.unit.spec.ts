import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { create } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import { checkPolicy } from '#libs/domain/route';
import { desiredOf, parseConfig } from '#libs/nest-kit';

const page = readFileSync(join(import.meta.dirname, '../../../docs/gateway.md'), 'utf8');
const examples = [...page.matchAll(/```yaml\n(profiles:\n[\s\S]*?)```/g)].map(([, yaml]) => yaml as string);

test.each(examples.map((yaml) => [/(\w+): \{ strategy/.exec(yaml)?.[1], yaml]))(
  'the example profile "%s" in docs/gateway.md is one',
  (name, yaml = '') => {
    const indented = yaml.replace(/^(?=.)/gm, '    ');
    const text = `policies:\n  - id: example\n    models: ["*"]\n    defaultProfile: ${name}\n${indented}`;
    const [policy] = desiredOf(parseConfig(text, 'docs/gateway.md'), 'test').policies;
    expect(policy?.profiles?.map((profile) => profile.name)).toEqual([name]);
    checkPolicy(create(route.RoutingPolicySchema, policy));
  },
);

test('there are examples', () => expect(examples.length).toBeGreaterThanOrEqual(4));
