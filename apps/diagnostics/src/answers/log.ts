import type { LogAnswer } from '#libs/domain/diag';
import { explainCommit } from '#libs/domain/diag';
import type { StoredCommit } from '#libs/event-log';
import type { Core } from '../core.ts';
import type { Lines } from '../http/lines.ts';
import { newestCommits } from './read-log.ts';

export interface LogQuery {
  /** Commits behind this sequence; undefined tells the newest. */
  readonly after: number | undefined;
  readonly limit: number;
  readonly subjects: readonly string[] | undefined;
}

/** A page of the timeline, oldest first. */
export async function logPage({ broker }: Core, { after, limit, subjects }: LogQuery): Promise<LogAnswer> {
  const lastSeq = await broker.log.lastSeq();
  let commits: StoredCommit[] = [];
  if (after === undefined) commits = await newestCommits(broker.log, limit, subjects);
  else if (after < lastSeq) {
    const filter = subjects === undefined ? { toSeq: Math.min(lastSeq, after + limit) } : { toSeq: lastSeq, subjects };
    for await (const commit of broker.log.read({ fromSeq: after + 1, ...filter })) {
      commits.push(commit);
      if (commits.length >= limit) break;
    }
  }
  return { durability: broker.durability, lastSeq, commits: commits.map(explainCommit) };
}

/** Each commit behind `after` and then as it comes, until the reader leaves. */
export async function followLog(
  { broker }: Core,
  query: { readonly after: number | undefined; readonly subjects: readonly string[] | undefined },
  lines: Lines,
): Promise<void> {
  const after = query.after ?? (await broker.log.lastSeq());
  const filter = query.subjects === undefined ? {} : { subjects: query.subjects };
  const left = Promise.withResolvers<void>();
  lines.signal.addEventListener('abort', () => left.resolve(), { once: true });
  if (lines.signal.aborted) return;
  const following = await broker.log.follow({ fromSeq: after + 1, ...filter }, async (commit) => {
    if (!(await lines.write(explainCommit(commit)))) left.resolve();
  });
  lines.open();
  try {
    await Promise.race([left.promise, following.ended]);
  } finally {
    await following.stop();
  }
}
