import type { Head, StoredCommit } from './commit.ts';
import { emptyHead } from './commit.ts';

export type Verdict = 'accepted' | 'duplicate' | 'forked';

/** The rule that every reader applies, whatever the broker promised. */
export function judge(head: Head, commit: StoredCommit): Verdict {
  if (commit.seq <= head.seq) return 'duplicate';
  return commit.version === head.version + 1 && commit.prevHash === head.hash ? 'accepted' : 'forked';
}

interface Place {
  head: Head;
  /** Last sequence seen on the subject, forked commits included: what the broker compares an expectation with. */
  lastSeq: number;
}

/** Heads by subject and the counts of what was judged. One reader owns one. */
export class Acceptor {
  readonly #places = new Map<string, Place>();
  readonly counts: Record<Verdict, number> = { accepted: 0, duplicate: 0, forked: 0 };

  constructor(heads: Iterable<readonly [string, Head]> = []) {
    for (const [subject, head] of heads) this.#places.set(subject, { head, lastSeq: head.seq });
  }

  /** Judges the commit and moves the head when it is accepted. Feed each subject in the order of the sequence. */
  accept(commit: StoredCommit): Verdict {
    const place = this.#places.get(commit.subject);
    const verdict =
      place !== undefined && commit.seq <= place.lastSeq ? 'duplicate' : judge(place?.head ?? emptyHead, commit);
    this.counts[verdict]++;
    if (verdict === 'duplicate') return verdict;
    const head =
      verdict === 'accepted'
        ? { seq: commit.seq, version: commit.version, hash: commit.hash }
        : (place?.head ?? emptyHead);
    if (place === undefined) this.#places.set(commit.subject, { head, lastSeq: commit.seq });
    else {
      place.head = head;
      place.lastSeq = commit.seq;
    }
    return verdict;
  }

  /** The last accepted commit of a subject. */
  head(subject: string): Head {
    return this.#places.get(subject)?.head ?? emptyHead;
  }

  /**
   * What to expect when appending: version and hash of the accepted head, with the last sequence of the subject,
   * which is that of a forked commit where one came after.
   */
  expectation(subject: string): Head {
    const place = this.#places.get(subject);
    if (place === undefined) return emptyHead;
    return place.lastSeq === place.head.seq ? place.head : { ...place.head, seq: place.lastSeq };
  }

  *heads(): IterableIterator<[string, Head]> {
    for (const [subject, { head }] of this.#places) yield [subject, head];
  }

  get subjects(): number {
    return this.#places.size;
  }
}
