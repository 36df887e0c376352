import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { JsonObject } from '@bufbuild/protobuf';
import {
  EventRegistry,
  eventTypes,
  isSubjectId,
  outcomeName,
  outcomeNames,
  parseEventSubject,
  route,
  subjects,
} from '#libs/contracts';

const goldenDir = join(import.meta.dirname, '../golden');
const golden = readdirSync(goldenDir)
  .filter((name) => name.endsWith('.json'))
  .map((name) => {
    const [context, type, level] = name.split('.') as [string, string, string];
    const data = JSON.parse(readFileSync(join(goldenDir, name), 'utf8')) as JsonObject;
    return { name, context, type, level: Number(level.replace('level-', '')), data };
  });

/** ProtoJSON leaves defaults out: empty text, empty lists, zero, false. */
function withoutDefaults(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutDefaults);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(
        ([, inner]) => inner !== '' && inner !== 0 && inner !== false && !(Array.isArray(inner) && inner.length === 0),
      )
      .map(([name, inner]) => [name, withoutDefaults(inner)]),
  );
}

describe('golden files', () => {
  const registry = new EventRegistry();

  test.each(golden)('L18 $name decodes, and encodes to what it was', ({ context, type, data }) => {
    expect(registry.encode(context, type, registry.decode(context, type, data))).toEqual(withoutDefaults(data));
  });

  test('L18 every event type has one at its level', () => {
    const missing = eventTypes.filter(
      ({ context, type, sinceLevel }) =>
        !golden.some((file) => file.context === context && file.type === type && file.level === sinceLevel),
    );
    expect(missing.map(({ context, type }) => `${context}.${type}`)).toEqual([]);
  });
});

describe('EventRegistry', () => {
  const registry = new EventRegistry();

  test('an unknown type is refused with its name', () => {
    expect(() => registry.decode('route', 'Nope', {})).toThrow(
      expect.objectContaining({ code: 'EVENT_TYPE_UNKNOWN' }) as unknown as Error,
    );
  });

  test('any JSON object decodes or is refused with a code', () => {
    fc.assert(
      fc.property(fc.constantFrom(...eventTypes), fc.object(), ({ context, type }, data) => {
        try {
          registry.decode(context, type, JSON.parse(JSON.stringify(data)) as JsonObject);
        } catch (error) {
          expect(error).toMatchObject({ code: 'EVENT_DATA_INVALID' });
        }
      }),
    );
  });

  test("a newer writer's field is ignored", () => {
    expect(registry.decode('route', 'ReplicaDrained', { replicaId: 'r1', later: 1 })).toMatchObject({
      replicaId: 'r1',
    });
  });
});

describe('subjects', () => {
  test('parse what they build', () => {
    expect(parseEventSubject(subjects.event('route', 'replica', 'r-1'))).toEqual({
      context: 'route',
      aggregate: 'replica',
      id: 'r-1',
    });
  });

  test('L19 user text never becomes a subject', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        if (isSubjectId(text)) expect(subjects.requests(text)).toBe(`lintel.rq.${text}`);
        else
          expect(() => subjects.requests(text)).toThrow(
            expect.objectContaining({ code: 'SUBJECT_ID_INVALID' }) as unknown as Error,
          );
      }),
    );
  });

  test.each(['lintel.ev.a.b', 'lintel.ev.a.b.c.d', 'other.ev.a.b.c', 'lintel.rq.a.b.c', 'lintel.ev.a..c', ''])(
    '%s is no event subject',
    (subject) => {
      expect(parseEventSubject(subject)).toBeUndefined();
    },
  );
});

test('the page names every outcome, each once', () => {
  const page = readFileSync(join(import.meta.dirname, '../../../docs/gateway.md'), 'utf8');
  const section = /### Outcomes\n([^]*?)\n\[Queues\]/.exec(page)?.[1] ?? '';
  const named = [...section.matchAll(/^\| (`[^|]*) \|/gm)].flatMap(
    ([, cell]) => (cell as string).match(/[a-z_]+/g) ?? [],
  );
  expect(named.sort()).toEqual(outcomeNames.filter((name) => name !== 'unspecified').sort());
  expect([outcomeName(route.Outcome.REJECTED_QUOTA), outcomeName(99 as route.Outcome)]).toEqual([
    'rejected_quota',
    '99',
  ]);
});
