import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { StoredCommit } from '#libs/event-log';
import { Acceptor, emptyHead, judge } from '#libs/event-log';
import { sampleLog } from '#libs/testkit';

/** Chains of three aggregates with commits that lost a race in between. */
const history = (forkAt: readonly number[]): StoredCommit[] => {
  const log: StoredCommit[] = [];
  for (const commit of sampleLog(24)) {
    log.push({ ...commit, seq: log.length + 1 });
    if (!forkAt.includes(commit.seq)) continue;
    // Decided on the same head as the one before it, stored after it.
    log.push({ ...commit, commitId: `fork-${commit.commitId}`, hash: 'f'.repeat(64), seq: log.length + 1 });
  }
  return log;
};

describe('judge', () => {
  const [first, , , second] = sampleLog(4) as [StoredCommit, StoredCommit, StoredCommit, StoredCommit];
  const head = { seq: first.seq, version: first.version, hash: first.hash };

  test.each([
    ['the next one', second, 'accepted'],
    ['the same one again', first, 'duplicate'],
    ['one that extends another head', { ...second, prevHash: 'e'.repeat(64) }, 'forked'],
    ['one that leaves out a version', { ...second, version: 3 }, 'forked'],
    ['one of the same version', { ...second, version: 1 }, 'forked'],
  ] as const)('L3 %s', (_, commit, verdict) => expect(judge(head, commit)).toBe(verdict));

  test('L3 the first of an aggregate extends nothing', () => {
    expect(judge(emptyHead, first)).toBe('accepted');
    expect(judge(emptyHead, second)).toBe('forked');
  });
});

describe('Acceptor', () => {
  const forks = fc.uniqueArray(fc.integer({ min: 1, max: 24 }), { maxLength: 8 });

  test('L3 accepts exactly the chains, whatever is stored beside them and however often it is delivered', () => {
    fc.assert(
      fc.property(forks, fc.array(fc.nat(40)), (forkAt, again) => {
        const log = history(forkAt);
        const acceptor = new Acceptor();
        const accepted: string[] = [];
        for (const [index, commit] of log.entries()) {
          if (acceptor.accept(commit) === 'accepted') accepted.push(commit.commitId);
          // Anything up to here may come again.
          const old = log[(again[index] ?? 0) % (index + 1)] as StoredCommit;
          expect(acceptor.accept(old)).toBe('duplicate');
        }
        expect(accepted).toEqual(sampleLog(24).map(({ commitId }) => commitId));
        expect(acceptor.counts.forked).toBe(forkAt.length);
      }),
    );
  });

  test('L3 one that starts at the heads of another goes on as that one does', () => {
    fc.assert(
      fc.property(forks, fc.nat(30), (forkAt, cut) => {
        const log = history(forkAt);
        const whole = new Acceptor();
        for (const commit of log.slice(0, cut)) whole.accept(commit);
        const resumed = new Acceptor([...whole.heads()]);
        for (const commit of log.slice(cut)) expect(resumed.accept(commit)).toBe(whole.accept(commit));
        expect(new Map(resumed.heads())).toEqual(new Map(whole.heads()));
      }),
    );
  });

  test('after a fork the next append expects its sequence and extends the accepted head', () => {
    const acceptor = new Acceptor();
    const log = history([1]);
    const [first, fork] = log as [StoredCommit, StoredCommit];
    acceptor.accept(first);
    acceptor.accept(fork);
    expect(acceptor.expectation(first.subject)).toEqual({ seq: fork.seq, version: 1, hash: first.hash });
    expect(acceptor.head(first.subject).seq).toBe(first.seq);
  });
});
