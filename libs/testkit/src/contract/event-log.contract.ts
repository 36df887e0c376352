import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { EventLog, Head, StoredCommit } from '#libs/event-log';
import { emptyHead } from '#libs/event-log';
import { eventually } from '../eventually.ts';
import { headAfter, sampleCommit } from './samples.ts';

export interface LogUnderTest {
  readonly log: EventLog;
  /** A second connection to the same log; the same object where there is only one process. */
  readonly again?: () => Promise<EventLog>;
  /** Stops what `makeLog` started, after the log was closed. */
  readonly stop?: () => Promise<void>;
}

/**
 * What the port means, whoever implements it. `makeLog` gives an empty log for each test. Commits of the samples are on
 * `lintel.ev.route.replica.*` and `lintel.ev.tenancy.tenant.*`.
 */
export function eventLogContract(name: string, makeLog: () => Promise<LogUnderTest>): void {
  describe(`${name} is an EventLog`, () => {
    let under: LogUnderTest;
    let log: EventLog;

    beforeEach(async () => {
      under = await makeLog();
      log = under.log;
    });

    afterEach(async () => {
      await log.close();
      await under.stop?.();
    });

    const append = async (id: string, commitId: string, head: Head = emptyHead): Promise<Head> => {
      const commit = sampleCommit({ id, commitId, head });
      return headAfter(commit, (await log.append(commit, head)).seq);
    };

    const collect = async (commits: AsyncIterable<StoredCommit>): Promise<StoredCommit[]> => {
      const all: StoredCommit[] = [];
      for await (const commit of commits) all.push(commit);
      return all;
    };

    const subjectOf = (id: string): string => sampleCommit({ id, commitId: 'x' }).subject;

    test('an empty log stands at 0 and reads as nothing', async () => {
      expect(await log.lastSeq()).toBe(0);
      expect(await log.readSubject(subjectOf('r1'), 0)).toEqual([]);
      expect(await collect(log.read({ fromSeq: 1 }))).toEqual([]);
    });

    test('what was appended reads back field by field and byte for byte', async () => {
      const commit = sampleCommit({ id: 'r1', commitId: 'c1', reason: 'grün „und“ 🦙' });
      expect(await log.append(commit, emptyHead)).toEqual({ seq: 1, recovered: false });
      const [read] = await log.readSubject(commit.subject, 0);
      expect({ ...read, payload: Buffer.from(read?.payload ?? []).toString() }).toEqual({
        ...commit,
        payload: Buffer.from(commit.payload).toString(),
        seq: 1,
        storedAtMs: expect.any(Number),
      });
    });

    test('an append with an old expectation is a LOG_CONFLICT and stores nothing', async () => {
      const head = await append('r1', 'c1');
      await append('r1', 'c2', head);
      const late = sampleCommit({ id: 'r1', commitId: 'c3', head });
      await expect(log.append(late, head)).rejects.toMatchObject({ code: 'LOG_CONFLICT' });
      await expect(log.append(sampleCommit({ id: 'r1', commitId: 'c4' }), emptyHead)).rejects.toMatchObject({
        code: 'LOG_CONFLICT',
      });
      expect(await log.lastSeq()).toBe(2);
    });

    test('an expectation ahead of the subject is a LOG_CONFLICT too', async () => {
      const head = { seq: 7, version: 1, hash: 'f'.repeat(64) };
      await expect(log.append(sampleCommit({ id: 'r1', commitId: 'c1', head }), head)).rejects.toMatchObject({
        code: expect.stringMatching(/^LOG_(CONFLICT|UNAVAILABLE)$/),
      });
      expect(await log.lastSeq()).toBe(0);
    });

    test('L1 the same commit appended again is found, not stored twice', async () => {
      const commit = sampleCommit({ id: 'r1', commitId: 'c1' });
      const first = await log.append(commit, emptyHead);
      expect(await log.append(commit, emptyHead)).toEqual({ seq: first.seq, recovered: true });
      const head = headAfter(commit, first.seq);
      await append('r1', 'c2', head);
      expect(await log.append(commit, emptyHead)).toEqual({ seq: first.seq, recovered: true });
      expect(await log.lastSeq()).toBe(2);
    });

    test('subjects do not disturb each other', async () => {
      const heads = await Promise.all(['r1', 'r2', 'r3'].map((id) => append(id, `c:${id}`)));
      expect(heads.map(({ seq }) => seq).sort((a, b) => a - b)).toEqual([1, 2, 3]);
      const two = heads[1] as Head;
      await append('r2', 'd:r2', two);
      expect((await log.readSubject(subjectOf('r2'), two.seq)).map(({ commitId }) => commitId)).toEqual(['d:r2']);
    });

    test('of writers that race for one subject one wins and the others conflict', async () => {
      const outcomes = await Promise.allSettled(Array.from({ length: 8 }, (_, n) => append('r1', `c${n}`)));
      expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'LOG_CONFLICT' });
      }
      expect(await log.lastSeq()).toBe(1);
    });

    test('readSubject answers what is after the sequence, in order', async () => {
      let head = emptyHead;
      for (let n = 1; n <= 5; n++) {
        head = await append('r1', `c${n}`, head);
        await append(`other${n}`, `o${n}`);
      }
      const all = await log.readSubject(subjectOf('r1'), 0);
      expect(all.map(({ version }) => version)).toEqual([1, 2, 3, 4, 5]);
      const third = all[2] as StoredCommit;
      expect((await log.readSubject(subjectOf('r1'), third.seq)).map(({ version }) => version)).toEqual([4, 5]);
      expect(await log.readSubject(subjectOf('r1'), head.seq)).toEqual([]);
    });

    test('read answers a range, filtered, and ends', async () => {
      for (let n = 1; n <= 6; n++) await append(`r${n}`, `c${n}`);
      await log.append(sampleCommit({ id: 't1', commitId: 't', context: 'tenancy' }), emptyHead);
      const seqs = async (range: Parameters<EventLog['read']>[0]): Promise<number[]> =>
        (await collect(log.read(range))).map(({ seq }) => seq);
      expect(await seqs({ fromSeq: 1 })).toEqual([1, 2, 3, 4, 5, 6, 7]);
      expect(await seqs({ fromSeq: 3, toSeq: 5 })).toEqual([3, 4, 5]);
      expect(await seqs({ fromSeq: 1, subjects: ['lintel.ev.tenancy.>'] })).toEqual([7]);
      expect(await seqs({ fromSeq: 1, toSeq: 6, subjects: ['lintel.ev.tenancy.>'] })).toEqual([]);
      expect(await seqs({ fromSeq: 5, toSeq: 99 })).toEqual([5, 6, 7]);
      expect(await seqs({ fromSeq: 8 })).toEqual([]);
    });

    test('leaving a read early is fine', async () => {
      for (let n = 1; n <= 4; n++) await append(`r${n}`, `c${n}`);
      for await (const { seq } of log.read({ fromSeq: 1 })) if (seq === 2) break;
      expect(await log.lastSeq()).toBe(4);
    });

    test('follow gives the stored ones and then the new ones, each once and in order', async () => {
      for (let n = 1; n <= 3; n++) await append(`r${n}`, `c${n}`);
      const seen: number[] = [];
      const following = await log.follow({ fromSeq: 2 }, ({ seq }) => void seen.push(seq));
      for (let n = 4; n <= 6; n++) await append(`r${n}`, `c${n}`);
      await eventually(() => expect(seen).toEqual([2, 3, 4, 5, 6]));
      await following.stop();
      await append('r7', 'c7');
      await expect(following.ended).resolves.toBeUndefined();
      expect(seen).toEqual([2, 3, 4, 5, 6]);
    });

    test('follow with a filter gives only those, from a sequence ahead of the log on', async () => {
      const seen: string[] = [];
      const following = await log.follow(
        { fromSeq: 2, subjects: ['lintel.ev.route.replica.*'] },
        ({ commitId }) => void seen.push(commitId),
      );
      await append('r1', 'before');
      await log.append(sampleCommit({ id: 't1', commitId: 'other', context: 'tenancy' }), emptyHead);
      await append('r2', 'after');
      await eventually(() => expect(seen).toEqual(['after']));
      await following.stop();
    });

    test('the next commit waits for the handler; its rejection ends the following', async () => {
      for (let n = 1; n <= 4; n++) await append(`r${n}`, `c${n}`);
      let running = 0;
      let most = 0;
      const seen: number[] = [];
      const following = await log.follow({ fromSeq: 1 }, async ({ seq }) => {
        most = Math.max(most, ++running);
        await new Promise((resolve) => setTimeout(resolve, 5));
        running--;
        seen.push(seq);
        if (seq === 3) throw new Error('handler failed');
      });
      await expect(following.ended).rejects.toThrow('handler failed');
      expect({ most, seen }).toEqual({ most: 1, seen: [1, 2, 3] });
    });

    test('two followers see the same history', async () => {
      const seen: [string[], string[]] = [[], []];
      const followings = await Promise.all(
        seen.map((list) => log.follow({ fromSeq: 1 }, ({ hash }) => void list.push(hash))),
      );
      for (let n = 1; n <= 5; n++) await append(`r${n}`, `c${n}`);
      await eventually(() => expect(seen.map((list) => list.length)).toEqual([5, 5]));
      expect(seen[0]).toEqual(seen[1]);
      await Promise.all(followings.map((following) => following.stop()));
    });

    test('a closed log refuses with LOG_UNAVAILABLE', async () => {
      const other = (await under.again?.()) ?? log;
      await other.close();
      await expect(other.append(sampleCommit({ id: 'r1', commitId: 'c1' }), emptyHead)).rejects.toMatchObject({
        code: 'LOG_UNAVAILABLE',
      });
    });
  });
}
