import type { Environment } from '#libs/kernel';
import { CodedError } from '#libs/kernel';
import type { Head, PreparedCommit, StoredCommit } from './commit.ts';
import { limits } from './limits.ts';
import { conflict } from './memory-log.ts';
import type { Appended } from './port.ts';

/**
 * What one publish came to. `stored`: acknowledged (`duplicate` when the broker knew the id already). `wrong-sequence`:
 * refused by the expectation, which from NATS 2.12 on is also the answer to a retry of our own. `unknown`: no answer, or
 * one that says nothing about what is stored. Anything final (full, forbidden, too large) is thrown.
 */
export type PublishAnswer =
  | { readonly kind: 'stored'; readonly seq: number; readonly duplicate: boolean }
  | { readonly kind: 'wrong-sequence' }
  | { readonly kind: 'unknown'; readonly why: string };

export interface CommitPublisher {
  publish(commit: PreparedCommit, expectedSeq: number): Promise<PublishAnswer>;
  /** From the leader: what a publish before this call stored must be seen. */
  readSubject(subject: string, afterSeq: number): Promise<StoredCommit[]>;
}

/**
 * One append over a broker whose answers may be lost, without ever publishing blindly: after each answer that leaves
 * doubt, the subject is read past the expected sequence. Our own commit id there is success, another's is a conflict,
 * nothing means publish again, bounded.
 * @throws LOG_CONFLICT, LOG_UNAVAILABLE, and what the publisher throws
 */
export async function appendSettled(
  publisher: CommitPublisher,
  commit: PreparedCommit,
  expected: Head,
  environment: Pick<Environment, 'timers' | 'rng'>,
): Promise<Appended> {
  let why = '';
  for (let attempt = 0; attempt < limits.publishAttemptsMax; attempt++) {
    if (attempt > 0) await environment.timers.sleep(retryDelayMs(attempt, environment));
    const answer = await publisher.publish(commit, expected.seq);
    if (answer.kind === 'stored') return { seq: answer.seq, recovered: answer.duplicate };
    if (answer.kind === 'unknown') why = answer.why;
    let since: StoredCommit[];
    try {
      since = await publisher.readSubject(commit.subject, expected.seq);
    } catch (cause) {
      if ((cause as CodedError).code !== 'LOG_UNAVAILABLE') throw cause;
      why = (cause as CodedError).message;
      continue;
    }
    const own = since.find(({ commitId }) => commitId === commit.commitId);
    if (own !== undefined) return { seq: own.seq, recovered: true };
    const last = since.at(-1);
    if (last !== undefined) throw conflict(commit, expected.seq, last.seq);
    if (answer.kind === 'wrong-sequence') why = 'the expectation was refused, yet the subject stands as expected';
  }
  throw new CodedError(
    'LOG_UNAVAILABLE',
    `append of ${commit.commitId} not settled in ${limits.publishAttemptsMax} tries: ${why}`,
    { advice: 'Give the command again with the same command id: it takes effect once.' },
  );
}

/** Full jitter over a doubling bound. */
export function retryDelayMs(attempt: number, { rng }: Pick<Environment, 'rng'>): number {
  const bound = Math.min(limits.retryDelayMsMax, limits.retryDelayMsMin * 2 ** attempt);
  return limits.retryDelayMsMin + rng.next() * bound;
}
