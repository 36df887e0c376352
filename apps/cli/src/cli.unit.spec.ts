import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { CodedError } from '#libs/kernel';
import { subjectFilter } from './commands/explain.ts';
import { listName } from './commands/lists.ts';
import { namesIn } from './commands/shell.ts';
import { benchMain } from './commands/bench.ts';
import { upArguments } from './commands/up.ts';
import { ApiProblem, exitCodeOf } from './exit-codes.ts';
import { pathOf, problemOf } from './http/client.ts';
import { networkText } from './http/find-server.ts';
import { ndjson, ndjsonLimits, textLines } from './http/ndjson.ts';

async function* from(chunks: readonly Uint8Array[]): AsyncIterable<Uint8Array> {
  yield* chunks;
}

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const one of source) list.push(one);
  return list;
}

describe('lines', () => {
  test('are the same however the bytes are split', async () => {
    const line = fc.string({ unit: 'grapheme' }).map((text) => text.replace(/[\r\n]/g, ''));
    await fc.assert(
      fc.asyncProperty(fc.array(line), fc.array(fc.nat(), { maxLength: 8 }), async (lines, cuts) => {
        const bytes = Buffer.from(lines.map((text) => `${text}\n`).join(''));
        const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
        const chunks = at.slice(1).map((end, index) => bytes.subarray(at[index], end));
        expect(await all(textLines(from(chunks)))).toEqual(lines);
      }),
    );
  });

  test('an unfinished one counts, empty ones are keep-alives, what is not JSON is named', async () => {
    expect(await all(ndjson(from([Buffer.from('\n{"a":1}\r\n\n2')])))).toEqual([{ a: 1 }, 2]);
    await expect(all(ndjson(from([Buffer.from('{"a"')])))).rejects.toMatchObject({ code: 'API_ANSWER_UNUSABLE' });
  });

  test('an endless one is refused at its bound', async () => {
    const chunk = Buffer.alloc(ndjsonLimits.lineBytesMax / 4, 97);
    await expect(all(textLines(from(Array.from({ length: 8 }, () => chunk))))).rejects.toMatchObject({
      code: 'LINE_TOO_LARGE',
    });
  });
});

describe('exit codes', () => {
  test.each([
    [new ApiProblem(404, 'WHY_NOT_FOUND', '', undefined), 3],
    [new ApiProblem(400, 'ROUTE_REPLICA_UNKNOWN', '', undefined), 3],
    [new ApiProblem(404, 'ROUTE_NOT_FOUND', '', undefined), 6],
    [new ApiProblem(400, 'CONFIG_INVALID', '', undefined), 2],
    [new ApiProblem(413, 'BODY_TOO_LARGE', '', undefined), 2],
    [new ApiProblem(401, 'ADMIN_KEY_UNAUTHORIZED', '', undefined), 5],
    [new ApiProblem(409, 'LOG_CONFLICT', '', undefined), 5],
    [new ApiProblem(503, 'LOG_UNAVAILABLE', '', undefined), 4],
    [new ApiProblem(500, 'BUS_NO_RESPONDER', '', undefined), 4],
    [new ApiProblem(500, 'INTERNAL', '', undefined), 6],
    [new CodedError('LINTEL_NOT_RUNNING', ''), 4],
    [new CodedError('LOG_NOT_EMPTY', ''), 5],
    [new CodedError('ARCHIVE_INVALID', ''), 1],
    [new CodedError('FILE_UNREADABLE', ''), 2],
    [new Error('bug'), 6],
    ['thrown', 6],
  ])('%p exits %p', (thrown, code) => expect(exitCodeOf(thrown)).toBe(code));
});

describe('what is asked', () => {
  test('queries leave out what was not given', () => {
    expect(pathOf('/a', { after: 0, limit: undefined, subject: '' })).toBe('/a?after=0');
    expect(pathOf('/a')).toBe('/a');
  });

  test.each([
    [undefined, undefined],
    ['route', 'lintel.ev.route.>'],
    ['route.replica', 'lintel.ev.route.replica.>'],
    ['route.replica.r1', 'lintel.ev.route.replica.r1'],
    ['route.*.r1', 'lintel.ev.route.*.r1'],
    ['route.>', 'lintel.ev.route.>'],
    ['lintel.ev.route.>', 'lintel.ev.route.>'],
  ])('subject %p is %p', (given, expected) => expect(subjectFilter(given)).toBe(expected));

  test('a list in one or many; a mistake is told what was meant', () => {
    expect([listName('replica'), listName('policies'), listName('dead-letter')]).toEqual([
      'replicas',
      'policies',
      'dead-letters',
    ]);
    expect(() => listName('polices')).toThrow(
      expect.objectContaining({ advice: expect.stringContaining('policies?') }),
    );
  });

  test('names of any answer of names', () => {
    expect(namesIn(['a', 'b'])).toEqual(['a', 'b']);
    expect(namesIn({ items: [{ replicaId: 'a' }, { id: 'b' }, { x: 1 }] })).toEqual(['a', 'b']);
    expect([namesIn(null), namesIn('x'), namesIn({ items: 'x' })]).toEqual([[], [], []]);
  });
});

describe('what went wrong', () => {
  test('a problem of Lintel, of something else, and of a stranger', () => {
    expect(problemOf(503, '{"code":"X","detail":"d","advice":"a"}', 'u')).toMatchObject({
      code: 'X',
      message: 'd',
      advice: 'a',
    });
    expect(problemOf(401, '{"code":"X","title":"t"}', 'u')).toMatchObject({
      message: 't',
      advice: expect.stringContaining('LINTEL_ADMIN_KEY'),
    });
    expect(problemOf(502, '<html>', 'u')).toMatchObject({
      code: 'API_ANSWER_UNUSABLE',
      message: 'u answered HTTP 502, not as Lintel does',
    });
    expect(problemOf(500, 'null', 'u')).toMatchObject({ code: 'API_ANSWER_UNUSABLE' });
  });

  test('network errors are named, the first of several', () => {
    const refused = Object.assign(new Error('connect ECONNREFUSED ::1:1'), { code: 'ECONNREFUSED' });
    expect(networkText(refused)).toBe('nobody listens there (ECONNREFUSED)');
    expect(networkText(new AggregateError([refused]))).toBe('nobody listens there (ECONNREFUSED)');
    expect(networkText(Object.assign(new Error('odd'), { code: 'EODD' }))).toBe('odd (EODD)');
  });
});

describe('up', () => {
  test.each([
    [
      ['up', '--port', '0', 'up'],
      ['--port', '0', 'up'],
    ],
    [
      ['--home', 'up', 'up', '--sim', '2'],
      ['--home', 'up', '--sim', '2'],
    ],
    [['up'], []],
    [['why', 'up'], undefined],
    [['--json'], undefined],
  ])('%j is up with %j', (argv, expected) => expect(upArguments(argv)).toEqual(expected));
});

describe('bench', () => {
  test('what follows it goes to the runner', () => {
    expect(upArguments(['bench', 'routing', '--loads', '0.9'], 'bench')).toEqual(['routing', '--loads', '0.9']);
    expect(upArguments(['why', 'bench'], 'bench')).toBeUndefined();
  });

  test('its runner is that of the checkout; elsewhere the error says where it is', () => {
    expect(benchMain()).toMatch(/\/tools\/bench\.mjs$/);
    expect(() => benchMain('/')).toThrow(expect.objectContaining({ code: 'BENCH_MISSING' }));
  });
});
