import { Acceptor } from '#libs/event-log';
import type { EventLog, StoredCommit } from '#libs/event-log';
import { CodedError } from '#libs/kernel';
import { limits } from '../limits.ts';

/** The commit at this sequence, or undefined. @throws LOG_UNAVAILABLE */
export async function commitAt(log: EventLog, seq: number): Promise<StoredCommit | undefined> {
  if (seq < 1 || seq > (await log.lastSeq())) return undefined;
  for await (const commit of log.read({ fromSeq: seq, toSeq: seq })) return commit;
  return undefined;
}

/** Whether readers accept it: told by its aggregate's own history. */
export async function isAccepted(log: EventLog, commit: StoredCommit): Promise<boolean> {
  const acceptor = new Acceptor();
  for (const stored of await log.readSubject(commit.subject, 0)) {
    const verdict = acceptor.accept(stored);
    if (stored.seq === commit.seq) return verdict === 'accepted';
  }
  return false;
}

/** Windows of sequences from the end backwards, `total` sequences in all. */
export function* windowsBackwards(
  lastSeq: number,
  firstSeq: number,
  window: number,
  total: number,
): Generator<{ fromSeq: number; toSeq: number }> {
  const floor = Math.max(firstSeq, lastSeq - total + 1);
  for (let toSeq = lastSeq; toSeq >= floor; toSeq -= window)
    yield { fromSeq: Math.max(floor, toSeq - window + 1), toSeq };
}

/** The newest commits of these subjects, oldest first. */
export async function newestCommits(
  log: EventLog,
  limit: number,
  subjects: readonly string[] | undefined,
): Promise<StoredCommit[]> {
  const lastSeq = await log.lastSeq();
  const filter = subjects === undefined ? {} : { subjects };
  const window = subjects === undefined ? limit : Math.max(limit, limits.commitsWindow);
  let found: StoredCommit[] = [];
  for (const range of windowsBackwards(lastSeq, 1, window, limits.commitsScannedMax)) {
    const part: StoredCommit[] = [];
    for await (const commit of log.read({ ...range, ...filter })) part.push(commit);
    found = [...part, ...found];
    if (found.length >= limit) return found.slice(-limit);
  }
  return found;
}

/** Looks for a commit id from the newest on, within the bound. */
export async function findCommitId(log: EventLog, commitId: string): Promise<StoredCommit | undefined> {
  const lastSeq = await log.lastSeq();
  for (const range of windowsBackwards(lastSeq, 1, limits.commitsWindow, limits.commitsScannedMax)) {
    let found: StoredCommit | undefined;
    for await (const commit of log.read(range)) if (commit.commitId === commitId) found ??= commit;
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The last commit stored at or before a time, by halving: the times of a stream only rise. 0 is before the first. */
export async function seqAtTime(log: EventLog, atMs: number): Promise<number> {
  let low = 0;
  let high = await log.lastSeq();
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    const commit = await commitAt(log, middle);
    if (commit === undefined) {
      throw new CodedError('LOG_GAP', `the log has no commit ${middle}`, { advice: 'Run lintel verify.' });
    }
    if (commit.storedAtMs <= atMs) low = middle;
    else high = middle - 1;
  }
  return low;
}
