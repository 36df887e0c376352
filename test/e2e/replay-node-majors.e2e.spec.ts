import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { describe, expect, test } from '@jest/globals';
import { route } from '#libs/contracts';
import { reexecute } from '#libs/domain/route';
import { env } from '#libs/nest-kit';
import { parseStrategy, strategyNames } from '#libs/scheduling';

const root = join(import.meta.dirname, '../..');
const folder = join(import.meta.dirname, 'golden-picks');
const majorOf = (version: string): number => Number(/^v?(\d+)\./.exec(version)?.[1]);
const ownMajor = majorOf(process.version);

const frames = readdirSync(folder)
  .filter((name) => /^picks-\d+\.txt$/.test(name))
  .flatMap((name) => readFileSync(join(folder, name), 'utf8').split('\n').filter(Boolean))
  .map((line) => fromBinary(route.RecordFrameSchema, Buffer.from(line, 'base64')));

/** Programs named node on this machine, of another major than the one that runs. */
function otherNodes(): { program: string; version: string }[] {
  const own = join(root, 'node_modules');
  const folders = (env.variable('PATH') ?? '').split(delimiter).filter((path) => path !== '' && !path.startsWith(own));
  const found = new Map<number, { program: string; version: string }>();
  for (const path of new Set([...folders, '/usr/local/bin', '/usr/bin'])) {
    const program = join(path, 'node');
    if (!existsSync(program)) continue;
    const version = execFileSync(program, ['--version'], { encoding: 'utf8', env: env.forChild() }).trim();
    const major = majorOf(version);
    if (major !== ownMajor && major >= 20 && !found.has(major)) found.set(major, { program, version });
  }
  return [...found.values()];
}

describe('golden picks decide again as they did once', () => {
  test('L15 under the Node that runs the tests', () => {
    for (const frame of frames) {
      for (const [index, { requestId }] of frame.records.entries()) {
        expect({ requestId, ...reexecute(frame, index) }).toEqual({ requestId, equal: true, picks: 1 });
      }
    }
  });

  test('every strategy is among them, with choices, empty fields and degraded signals', () => {
    const strategies = new Set(frames.flatMap(({ pipelines }) => pipelines.map(({ strategy }) => strategy)));
    expect([...strategies]).toEqual(expect.arrayContaining([...strategyNames]));
    expect([...strategies].some((name) => parseStrategy(name).length > 1)).toBe(true);
    const picks = frames.flatMap(({ records }) => records.flatMap(({ picks }) => picks));
    expect(picks.some(({ chosen }) => chosen === 0)).toBe(true);
    expect(picks.filter(({ chosen }) => chosen > 0).length).toBeGreaterThan(50);
    const notes = new Set(picks.flatMap((pick) => pick.notes.map((note) => note.split(':')[0])));
    expect([...notes]).toEqual(expect.arrayContaining(['unknown', 'stale', 'no-candidates']));
  });

  test('L15 a pick that was changed by the least bit is noticed', () => {
    const frame = frames.find(({ records }) => records.some(({ picks }) => (picks[0]?.totals[0] ?? 0) > 0));
    const index = frame!.records.findIndex(({ picks }) => (picks[0]?.totals[0] ?? 0) > 0);
    const totals = frame!.records[index]!.picks[0]!.totals;
    const before = totals[0] as number;
    totals[0] = before * (1 + Number.EPSILON);
    expect(reexecute(frame!, index)).toMatchObject({ equal: false, difference: { field: 'totals[0]' } });
    totals[0] = before;
  });

  const built = existsSync(join(root, 'dist/libs/domain/route/src/index.js'));
  const others = otherNodes();
  if (!built || others.length === 0) {
    const why = built ? `no Node of another major than ${ownMajor} is on this machine` : 'nothing is built in dist';
    test.skip(`under another major of Node (skipped: ${why})`, () => {});
  }
  for (const { program, version } of built ? others : []) {
    test(`L15 under Node ${version}, from what is built`, () => {
      const printed = execFileSync(program, [join(folder, 'replay.mjs')], {
        cwd: root,
        encoding: 'utf8',
        env: env.forChild(),
      });
      const records = frames.reduce((sum, frame) => sum + frame.records.length, 0);
      const answer = JSON.parse(printed) as { node: string; records: number; equal: number; first?: object };
      expect(answer.first).toBeUndefined();
      expect(answer).toMatchObject({ node: version.slice(1), records, equal: records });
    });
  }
});
